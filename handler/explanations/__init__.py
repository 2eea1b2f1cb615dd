"""Which words carried a prediction, for those who ask.

explainer   an explanation of a text, bounded in what it costs the predictions beside it
gradients   integrated gradients: what each token adds to a label's logit
"""

from .explainer import Explainer

__all__ = ["Explainer"]

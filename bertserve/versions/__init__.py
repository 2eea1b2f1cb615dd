"""What a running server serves, and how that is changed.

versions   register, scale, set the default, canary, unregister
rollouts   replace a model by its next version without losing a request
checks     what a new version must pass before it is trusted
rollbacks  back to the version before
metrics    what the workers of each version have counted
traffic    the last hour of it
"""

from .checks import Comparison, Limits
from .metrics import Metrics
from .rollbacks import former_defaults, rollback
from .rollouts import Outcome, rollout
from .traffic import Traffic
from .versions import Versions

__all__ = [
    "Comparison",
    "Limits",
    "Metrics",
    "Outcome",
    "Traffic",
    "Versions",
    "former_defaults",
    "rollback",
    "rollout",
]

"""Probabilities that can be believed, and levels for decisions.

calibrator   from a model's folder and labelled texts to calibration.json
fitting      a calibration fitted on all texts, and judged on texts that it did not see
scaling      temperature, vector, Platt and isotonic
thresholds   thresholds of decisions, and levels of prediction sets
"""

from .calibrator import calibrate
from .thresholds import kept, sets

__all__ = ["calibrate", "kept", "sets"]

"""Logits become label→probability maps, and decisions.

labels        names of the outputs, and what kind of question they answer
activation    softmax(dim=1), or sigmoid where labels are independent
calibration   calibration.json beside a model, and what it does
decisions     a label, or none where it is not sure enough; prediction sets

The operator's side reads names and files here without loading torch, which is imported where it computes.
"""

from .activation import Outputs, activate, outputs, predictions
from .calibration import (
    CALIBRATION_FILE,
    FOR_INDEPENDENT_LABELS,
    METHODS,
    Calibration,
    read_calibration,
)
from .decisions import Decisions
from .labels import choose_activation, name_labels, problem_type

__all__ = [
    "CALIBRATION_FILE",
    "FOR_INDEPENDENT_LABELS",
    "METHODS",
    "Calibration",
    "Decisions",
    "Outputs",
    "activate",
    "choose_activation",
    "name_labels",
    "outputs",
    "predictions",
    "problem_type",
    "read_calibration",
]

"""calibration.json beside a model: how its logits become logits whose probabilities can be believed.

It names a method and its numbers:

    {"method": "temperature", "temperature": 1.42}
    {"method": "vector", "weights": [0.7, …], "biases": [0.1, …]}
    {"method": "platt", "weights": […], "biases": […]}
    {"method": "isotonic", "logits": [[-3.1, …], …], "calibrated": [[-2.0, …], …]}

Platt and isotonic calibrate each label for itself and are for labels that are independent. Levels for
decisions (see decisions) and where all of it comes from (`provenance`) stand beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import LoadError

FILE_NAME = "calibration.json"
# method → the numbers it needs: one for all labels, or one or a list for each
METHODS = {
    "temperature": ("temperature",),
    "vector": ("weights", "biases"),
    "platt": ("weights", "biases"),
    "isotonic": ("logits", "calibrated"),
}
FOR_INDEPENDENT_LABELS = ("platt", "isotonic")


def read_calibration(folder: Path) -> dict[str, Any] | None:
    """What calibration.json beside a model holds; None where there is none."""
    try:
        found = json.loads((folder / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LoadError(f"{FILE_NAME} is not JSON; run `bertserve calibrate` again") from error
    if not isinstance(found, dict):
        raise LoadError(f"{FILE_NAME} must hold an object; run `bertserve calibrate` again")
    return found

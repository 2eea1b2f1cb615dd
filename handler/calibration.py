"""Logits become logits whose probabilities can be believed: what `bertserve calibrate` found, applied.

The archive's calibration.json names a method and its numbers:

    {"method": "temperature", "temperature": 1.42}
    {"method": "vector", "weights": [0.7, …], "biases": [0.1, …]}
    {"method": "platt", "weights": […], "biases": […]}
    {"method": "isotonic", "logits": [[-3.1, …], …], "calibrated": [[-2.0, …], …]}

Every method maps logits to logits, so that softmax or sigmoid follows as it does without one. Platt and
isotonic calibrate each label for itself and are for labels that are independent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .errors import LoadError

FILE_NAME = "calibration.json"
# method → the numbers it needs, each one for all labels or one for each
METHODS = {
    "temperature": ("temperature",),
    "vector": ("weights", "biases"),
    "platt": ("weights", "biases"),
    "isotonic": ("logits", "calibrated"),
}
FOR_INDEPENDENT_LABELS = ("platt", "isotonic")


class Calibration:
    """Calibrates logits [texts, labels]; `facts` are its file: method, numbers, and what it was fitted on and brought."""

    def __init__(self, found: dict[str, Any], labels: int, activation: str) -> None:
        """LoadError where the numbers do not fit the method, or the method does not fit the model."""
        self.method = str(found.get("method"))
        self.facts = found
        if self.method not in METHODS:
            raise LoadError(f"{FILE_NAME}: method is {self.method}; known are {', '.join(METHODS)}")
        if self.method in FOR_INDEPENDENT_LABELS and activation != "sigmoid":
            raise LoadError(f"{FILE_NAME}: {self.method} is for labels that are independent")
        self._numbers = {name: _numbers(found, name) for name in METHODS[self.method]}
        for name, numbers in self._numbers.items():
            wanted = 1 if name == "temperature" else labels
            if len(numbers) != wanted:
                raise LoadError(f"{FILE_NAME}: {name} has {len(numbers)} entries, not {wanted}")
        if self.method == "temperature" and self._numbers["temperature"][0] <= 0:
            raise LoadError(f"{FILE_NAME}: temperature must be above 0")

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Calibrated logits in float32, [texts, labels]."""
        logits = logits.float()
        if self.method == "temperature":
            return logits / self._numbers["temperature"][0]
        if self.method == "isotonic":
            curves = zip(*(self._numbers[name] for name in METHODS["isotonic"]), strict=True)
            columns = [_interpolate(logits[:, i], *curve) for i, curve in enumerate(curves)]
            return torch.stack(columns, dim=1)
        weights, biases = (torch.tensor(self._numbers[name]) for name in ("weights", "biases"))
        return logits * weights + biases


def read_calibration(archive: Path, labels: int, activation: str) -> Calibration | None:
    """The calibration beside a model; None where it has none."""
    try:
        found = json.loads((archive / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LoadError(f"{FILE_NAME} is not JSON; run `bertserve calibrate` again") from error
    if not isinstance(found, dict):
        raise LoadError(f"{FILE_NAME} must hold an object; run `bertserve calibrate` again")
    return Calibration(found, labels, activation)


def _numbers(found: dict[str, Any], name: str) -> list[Any]:
    """A list of finite numbers, or of lists of them; one number is a list of one."""
    value = found.get(name)
    listed = value if isinstance(value, list) else [value]
    flat = [n for entry in listed for n in (entry if isinstance(entry, list) else [entry])]
    if not all(type(n) in (int, float) and math.isfinite(n) for n in flat):
        raise LoadError(f"{FILE_NAME}: {name} must be finite numbers")
    return listed


def _interpolate(
    values: torch.Tensor, points: Sequence[float], results: Sequence[float]
) -> torch.Tensor:
    """Straight lines between points, which rise; beyond the ends what the ends give."""
    xs, ys = torch.tensor(points), torch.tensor(results)
    right = torch.searchsorted(xs, values.contiguous()).clamp(1, len(xs) - 1)
    left = right - 1
    share = ((values - xs[left]) / (xs[right] - xs[left])).clamp(0, 1)
    return ys[left] + share * (ys[right] - ys[left])

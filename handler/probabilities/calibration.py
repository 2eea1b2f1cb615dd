"""calibration.json beside a model, and what it does: logits become such that can be believed.

It names a method and its numbers:

    {"method": "temperature", "temperature": 1.42}
    {"method": "vector", "weights": [0.7, …], "biases": [0.1, …]}
    {"method": "platt", "weights": […], "biases": […]}
    {"method": "isotonic", "logits": [[-3.1, …], …], "calibrated": [[-2.0, …], …]}

Platt and isotonic calibrate each label for itself and are for labels that are independent. Levels for
decisions (see decisions) and where all of it comes from (`provenance`) stand beside them.

torch is imported where it computes, so that whoever only reads the file does without it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LoadError

if TYPE_CHECKING:
    import torch

CALIBRATION_FILE = "calibration.json"
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
        found = json.loads((folder / CALIBRATION_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LoadError(
            f"{CALIBRATION_FILE} is not JSON; run `bertserve calibrate` again"
        ) from error
    if not isinstance(found, dict):
        raise LoadError(f"{CALIBRATION_FILE} must hold an object; run `bertserve calibrate` again")
    return found


class Calibration:
    """Calibrates logits [texts, labels] by the numbers of one method.

    Every method maps logits to logits, so that softmax or sigmoid follows as it does without one.
    """

    def __init__(self, found: Mapping[str, Any], labels: int, activation: str) -> None:
        """LoadError where the numbers do not fit the method, or the method does not fit the model."""
        self.method = str(found.get("method"))
        if self.method not in METHODS:
            raise LoadError(
                f"{CALIBRATION_FILE}: method is {self.method}; known are {', '.join(METHODS)}"
            )
        if self.method in FOR_INDEPENDENT_LABELS and activation != "sigmoid":
            raise LoadError(f"{CALIBRATION_FILE}: {self.method} is for labels that are independent")
        if self.method == "isotonic":
            self._curves = _read_curves(found, labels)
        elif self.method == "temperature":
            (self._temperature,) = _read_numbers(found, "temperature", 1).tolist()
            if self._temperature <= 0:
                raise LoadError(f"{CALIBRATION_FILE}: temperature must be above 0")
        else:
            self._weights = _read_numbers(found, "weights", labels)
            if not (self._weights > 0).all():  # a higher logit would make its label less probable
                raise LoadError(
                    f"{CALIBRATION_FILE}: weights must be above 0; run `bertserve calibrate` again"
                )
            self._biases = _read_numbers(found, "biases", labels)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Calibrated logits in float32, [texts, labels]."""
        logits = logits.float()
        if self.method == "temperature":
            return logits.div(self._temperature)
        if self.method == "isotonic":
            import torch

            columns = [_along(logits[:, i], *curve) for i, curve in enumerate(self._curves)]
            return torch.stack(columns, dim=1)
        return logits * self._weights + self._biases


def _read_numbers(found: Mapping[str, Any], name: str, count: int) -> torch.Tensor:
    """So many finite numbers; one alone stands without a list."""
    value = found.get(name)
    listed: list[Any] = value if isinstance(value, list) else [value]
    if not all(type(n) in (int, float) and math.isfinite(n) for n in listed):
        raise LoadError(f"{CALIBRATION_FILE}: {name} must be finite numbers")
    if len(listed) != count:
        raise LoadError(f"{CALIBRATION_FILE}: {name} has {len(listed)} entries, not {count}")
    import torch

    return torch.tensor(listed, dtype=torch.float32)


def _read_curves(found: Mapping[str, Any], labels: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each label points that rise, and what they become."""
    curves = []
    for name in METHODS["isotonic"]:
        rows = found.get(name)
        if not isinstance(rows, list) or len(rows) != labels:
            raise LoadError(
                f"{CALIBRATION_FILE}: {name} must hold a list for each of {labels} labels"
            )
    for points, results in zip(*(found[name] for name in METHODS["isotonic"]), strict=True):
        count = len(points) if isinstance(points, list) else 0
        xs = _read_numbers({"logits": points}, "logits", count)
        ys = _read_numbers({"calibrated": results}, "calibrated", count)
        if count < 2 or not (xs.diff() > 0).all():
            raise LoadError(f"{CALIBRATION_FILE}: logits of a label must be two or more, and rise")
        if (ys.diff() < 0).any():
            raise LoadError(
                f"{CALIBRATION_FILE}: calibrated logits of a label must not fall; "
                "run `bertserve calibrate` again"
            )
        curves.append((xs, ys))
    return curves


def _along(values: torch.Tensor, xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    """Straight lines between points; beyond the ends what the ends give."""
    import torch

    right = torch.searchsorted(xs, values.contiguous()).clamp(1, len(xs) - 1)
    left = right - 1
    share = ((values - xs[left]) / (xs[right] - xs[left])).clamp(0, 1)
    return ys[left] + share * (ys[right] - ys[left])

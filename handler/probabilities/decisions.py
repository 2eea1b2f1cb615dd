"""Probabilities become decisions: a label, or none where it is not sure enough, and a prediction set.

The levels are chosen by `bertserve calibrate` and stand in the archive's calibration.json:

    "threshold": 0.83                           of one label, so that it is right as often as wanted
    "thresholds": [0.41, null, …]               of each label, where labels are independent; null: never
    "sets": {"coverage": 0.95, "level": 0.021}  labels that belong to a prediction set
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import LoadError
from ..values import Decision

if TYPE_CHECKING:
    import torch

_HALF = 0.5  # the usual threshold of labels that are independent


class Decisions:
    """Makes decisions from probabilities [texts, labels].

    `coverage` is how often a prediction set holds the right label, of texts like those that its level
    was chosen on; None where the archive has no sets. Levels apply to calibrated probabilities.
    """

    def __init__(
        self, labels: Sequence[str], activation: str, levels: Mapping[str, Any] | None = None
    ) -> None:
        """LoadError where the levels do not fit the labels."""
        levels = levels or {}
        self._labels = labels
        self._independent = activation == "sigmoid"
        wanted = "thresholds" if self._independent else "threshold"
        for name in {"threshold", "thresholds"} - {wanted}:
            if name in levels:
                raise LoadError(f"calibration.json has {name}; for these labels it is {wanted}")
        if self._independent:
            given = levels.get(wanted, [_HALF] * len(labels))
        else:
            given = [levels.get(wanted, 0.0)]
        count = len(labels) if self._independent else 1
        if not isinstance(given, list) or len(given) != count:
            raise LoadError(f"calibration.json: {wanted} must be a list of {count}, one a label")
        if not all(_is_share(each) or (each is None and self._independent) for each in given):
            raise LoadError(f"calibration.json: {wanted} must be probabilities")
        import torch

        self._thresholds = torch.tensor([math.inf if each is None else each for each in given])
        self.coverage, self._level = _sets(levels.get("sets"), self._independent)

    def __call__(self, probabilities: torch.Tensor) -> list[Decision]:
        """One decision a text, by thresholds and sets, from calibrated probabilities."""
        return self._decide(probabilities, self._thresholds, self._level)

    def plain(self, probabilities: torch.Tensor) -> list[Decision]:
        """The same without the archive's levels: the most probable label, and labels from one half."""
        usual = self._thresholds.new_full((), _HALF if self._independent else 0.0)
        return self._decide(probabilities, usual, None)

    def _decide(
        self, probabilities: torch.Tensor, thresholds: torch.Tensor, level: float | None
    ) -> list[Decision]:
        reached = probabilities >= thresholds
        best = probabilities.argmax(dim=1)
        sure = reached.gather(1, best[:, None])[:, 0].tolist()
        chosen = probabilities >= level if level is not None else None
        if self._independent:  # the most probable of those that reach their level
            best = probabilities.where(reached, -1.0).argmax(dim=1)
            sure = reached.any(dim=1).tolist()
        rows = zip(best.tolist(), sure, self._margins(probabilities, thresholds), strict=True)
        return [
            Decision(
                label=self._labels[index] if is_sure else None,
                margin=margin,
                labels=self._named(reached[row], probabilities[row]) if self._independent else None,
                chosen=None if chosen is None else self._named(chosen[row], probabilities[row]),
                coverage=None if chosen is None else self.coverage,
            )
            for row, (index, is_sure, margin) in enumerate(rows)
        ]

    def _margins(self, probabilities: torch.Tensor, thresholds: torch.Tensor) -> list[float]:
        if self._independent:
            # from a threshold that is never reached, any probability is as far as it could be
            return (probabilities - thresholds).abs().clamp(max=1).amin(dim=1).tolist()
        highest = probabilities.topk(min(2, probabilities.shape[1]), dim=1).values
        return (highest[:, 0] - highest[:, -1]).tolist()

    def _named(self, which: torch.Tensor, probabilities: torch.Tensor) -> list[str]:
        """Names of some labels of a text, the most probable first."""
        indices = which.nonzero()[:, 0].tolist()
        return [self._labels[i] for i in sorted(indices, key=lambda i: -float(probabilities[i]))]


def _sets(given: Any, independent: bool) -> tuple[float | None, float | None]:
    """Coverage of prediction sets, and the level that a label of one reaches."""
    if given is None:
        return None, None
    if independent:
        raise LoadError("calibration.json has sets; they are for labels of which one is right")
    found = [given.get(name) for name in ("coverage", "level")] if isinstance(given, dict) else []
    if not found or not all(map(_is_share, found)):
        raise LoadError("calibration.json: sets must hold a coverage and a level, of 0 to 1")
    return found[0], found[1]


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1

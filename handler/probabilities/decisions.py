"""Probabilities become decisions: a label, or none where it is not sure enough, and a prediction set.

The levels are chosen by `bertserve calibrate` and stand in the archive's calibration.json:

    "threshold": 0.83                           of one label, so that it is right as often as wanted
    "thresholds": [0.41, null, …]               of each label, where labels are independent; null: never
    "sets": {"coverage": 0.95, "level": 0.021}  labels that belong to a prediction set
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
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
        ranked, order = rank(probabilities)
        if self._independent:
            named = self._named((probabilities >= thresholds).gather(1, order), order)
            # from a threshold that is never reached, any probability is as far as it could be
            margins = (probabilities - thresholds).abs().clamp(max=1).amin(dim=1).tolist()
            return [
                Decision(labels[0] if labels else None, margin, labels)
                for labels, margin in zip(named, margins, strict=True)
            ]
        highest, next_one = ranked[:, 0], ranked[:, min(1, len(self._labels) - 1)]
        best, sure = order[:, 0].tolist(), (highest >= thresholds).tolist()
        sets: Sequence[list[str] | None] = [None] * len(best)
        if level is not None:
            sets = self._named(ranked >= level, order)
        coverage = None if level is None else self.coverage
        return [
            Decision(self._labels[index] if is_sure else None, margin, None, chosen, coverage)
            for index, is_sure, margin, chosen in zip(
                best, sure, (highest - next_one).tolist(), sets, strict=True
            )
        ]

    def _named(self, which: torch.Tensor, order: torch.Tensor) -> list[list[str]]:
        """Names of some labels of each text, the most probable first; both [texts, ranks]."""
        names = iter([self._labels[index] for index in order[which].tolist()])
        return [list(islice(names, count)) for count in which.sum(dim=1).tolist()]


def rank(probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities that fall, and the labels that they are of; both [texts, ranks]."""
    return probabilities.sort(dim=1, descending=True, stable=True)


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

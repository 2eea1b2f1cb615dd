"""Levels that probabilities must reach for a decision, chosen on texts whose right labels are known.

    threshold_for_precision(probabilities, right, 0.98)     of the most probable label
    thresholds_for_precision(probabilities, right, 0.98)    of each label, where they are independent
    set_level(probabilities, right, 0.95)                   of the labels of a prediction set

Probabilities are calibrated, float [texts, labels]; right labels bool [texts, labels].

A prediction set is a conformal one: all labels whose probability reaches a level that the right label
reached in the wanted share of the texts (the score is one minus the probability of the right label). On
texts that are drawn like those, the right label is in the set at least that often, whatever the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEVER = 1.0  # hardly a probability reaches it
_FEWEST = 10  # texts that a precision is judged on

Probabilities = NDArray[np.float64]
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Kept:
    """What a threshold keeps: share of the texts, and how often the label is right there."""

    coverage: float
    precision: float | None


@dataclass(frozen=True)
class Sets:
    """What prediction sets hold: share of texts with the right label, labels in a set, empty sets."""

    coverage: float
    mean_size: float
    empty: float


def threshold_for_precision(probabilities: Probabilities, right: Right, wanted: float) -> float:
    """The lowest threshold from which on the most probable label is right as often as wanted.

    NEVER where there is none.
    """
    return _lowest(*best(probabilities, right), wanted)


def threshold_for_coverage(probabilities: Probabilities, right: Right, wanted: float) -> float:
    """The threshold that the most probable label reaches in so large a share of the texts."""
    confidence = np.sort(best(probabilities, right)[0])[::-1]
    return float(confidence[max(1, math.ceil(wanted * len(confidence))) - 1])


def thresholds_for_precision(
    probabilities: Probabilities, right: Right, wanted: float
) -> list[float]:
    """For each independent label the lowest threshold from which on it is right as often as wanted."""
    columns = zip(probabilities.T, right.T, strict=True)
    return [_lowest(column, correct, wanted) for column, correct in columns]


def set_level(probabilities: Probabilities, right: Right, coverage: float) -> float:
    """The level of the labels of a prediction set; 0, so that it holds all labels, for few texts."""
    of_right = np.sort(probabilities[right])
    allowed = math.floor((1 - coverage) * (len(of_right) + 1) + 1e-9)  # texts that may miss theirs
    return float(of_right[allowed - 1]) if allowed else 0.0


def kept(probabilities: Probabilities, right: Right, threshold: float) -> Kept:
    """What a threshold keeps of these texts."""
    confidence, correct = best(probabilities, right)
    chosen = confidence >= threshold
    return Kept(float(chosen.mean()), float(correct[chosen].mean()) if chosen.any() else None)


def sets(probabilities: Probabilities, right: Right, level: float) -> Sets:
    """What the prediction sets of these texts hold."""
    chosen = probabilities >= level
    sizes = chosen.sum(axis=1)
    covered = (chosen & right).any(axis=1)
    return Sets(float(covered.mean()), float(sizes.mean()), float((sizes == 0).mean()))


def best(probabilities: Probabilities, right: Right) -> tuple[Probabilities, NDArray[np.bool_]]:
    """Probability of the most probable label of each text, and whether it is right."""
    most = probabilities.argmax(axis=1)[:, None]
    return (
        np.take_along_axis(probabilities, most, axis=1)[:, 0],
        np.take_along_axis(right, most, axis=1)[:, 0],
    )


def _lowest(confidence: Probabilities, correct: NDArray[np.bool_], wanted: float) -> float:
    """The lowest confidence from which on so large a share is correct, NEVER where there is none."""
    order = np.argsort(-confidence, kind="stable")
    ordered, count = confidence[order], np.arange(1, len(order) + 1)
    enough = np.cumsum(correct[order]) >= wanted * count
    # texts of one confidence are kept together
    enough &= np.append(ordered[1:] < ordered[:-1], True)
    enough &= count >= min(_FEWEST, len(order))
    return float(ordered[np.flatnonzero(enough)[-1]]) if enough.any() else NEVER

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
from scipy import stats

from .judging import Bools, Floats, judged

_ERROR = 0.05  # how often a precision may be lower than its bound


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


def threshold_for_precision(probabilities: Floats, right: Bools, wanted: float) -> float | None:
    """The lowest threshold from which on the most probable label is right as often as wanted.

    None where there is none. It has to be so with 95 % confidence, see `precision_bounds`, so few texts
    that happen to be right do not make one.
    """
    return _lowest(*judged(probabilities, right, independent=False), wanted)


def threshold_for_coverage(probabilities: Floats, right: Bools, wanted: float) -> float:
    """The threshold that the most probable label reaches in so large a share of the texts."""
    confidence = np.sort(judged(probabilities, right, independent=False)[0])[::-1]
    return float(confidence[max(1, math.ceil(wanted * len(confidence))) - 1])


def thresholds_for_precision(
    probabilities: Floats, right: Bools, wanted: float
) -> list[float | None]:
    """The same for each independent label."""
    columns = zip(probabilities.T, right.T, strict=True)
    return [_lowest(column, correct, wanted) for column, correct in columns]


def set_level(probabilities: Floats, right: Bools, coverage: float) -> float:
    """The level of the labels of a prediction set; 0, so that it holds all labels, for few texts."""
    of_right = np.sort(probabilities[right])
    allowed = math.floor((1 - coverage) * (len(of_right) + 1) + 1e-9)  # texts that may miss theirs
    return float(of_right[allowed - 1]) if allowed else 0.0


def kept(probabilities: Floats, right: Bools, threshold: float) -> Kept:
    """What a threshold keeps of these texts."""
    confidence, correct = judged(probabilities, right, independent=False)
    chosen = confidence >= threshold
    return Kept(float(chosen.mean()), float(correct[chosen].mean()) if chosen.any() else None)


def sets(probabilities: Floats, right: Bools, level: float) -> Sets:
    """What the prediction sets of these texts hold."""
    chosen = probabilities >= level
    sizes = chosen.sum(axis=1)
    covered = (chosen & right).any(axis=1)
    return Sets(float(covered.mean()), float(sizes.mean()), float((sizes == 0).mean()))


def precision_bounds(correct: NDArray[np.int64], count: NDArray[np.int64]) -> Floats:
    """Lower bounds of precisions, with 95 % confidence each, by Clopper and Pearson."""
    found = stats.beta.ppf(_ERROR, np.maximum(correct, 1), count - correct + 1)
    return np.asarray(np.where(correct > 0, found, 0.0))


def _lowest(confidence: Floats, correct: Bools, wanted: float) -> float | None:
    """The lowest confidence from which on so large a share is correct, None where there is none."""
    order = np.argsort(-confidence, kind="stable")
    ordered, count = confidence[order], np.arange(1, len(order) + 1)
    enough = precision_bounds(np.cumsum(correct[order]), count) >= wanted
    # texts of one confidence are kept together
    enough &= np.append(ordered[1:] < ordered[:-1], True)
    return float(ordered[np.flatnonzero(enough)[-1]]) if enough.any() else None

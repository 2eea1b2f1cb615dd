"""What predictions are worth, one by one and in bins of like confidence.

    confidence, correct = judged(probabilities, right, independent=False)
    calibration_error(bins_of_width(confidence, correct))

Probabilities are float [texts, labels], right labels bool [texts, labels]. Where labels are independent
the predictions of a text are the labels that are answered for it: nearly all others are absent, and
rightly so, and would drown what is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
_DIGITS = 6  # of figures that are kept
_SMALLEST = 1e-12  # of a probability whose logarithm is taken

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Bin:
    """Predictions of like confidence: how many, how confident, how often right; None where empty."""

    count: int
    confidence: float | None
    accuracy: float | None


def predictions(
    probabilities: Floats, *, independent: bool, thresholds: Sequence[float] | None = None
) -> Bools:
    """The most probable label of each text, the first of equals; bool [texts, labels].

    Where labels are independent, those that reach one half, or their own threshold.
    """
    if independent and thresholds is not None:
        return np.asarray(probabilities >= np.asarray(thresholds))
    if independent:
        return np.asarray(probabilities >= 0.5)
    return np.asarray(np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(axis=1)])


def judged(
    probabilities: Floats,
    right: Bools,
    *,
    independent: bool,
    thresholds: Sequence[float] | None = None,
) -> tuple[Floats, Bools]:
    """Confidence in each prediction, and whether it is right, [predictions].

    One a text; where labels are independent, each label that reaches its threshold, maybe none.
    """
    predicted = predictions(probabilities, independent=independent, thresholds=thresholds)
    if independent:
        return probabilities[predicted], right[predicted]
    return probabilities.max(axis=1), np.asarray((predicted & right).any(axis=1))


def nll_of_texts(probabilities: Floats, right: Bools, *, independent: bool) -> Floats:
    """Negative log likelihood of each text in nats, [texts]; the sum over labels where independent.

    scikit-learn's log_loss warns of float32 probabilities, whose sums are not quite 1.
    """
    if independent:
        of_right = np.where(right, probabilities, 1 - probabilities)
        return np.asarray(-np.log(of_right.clip(_SMALLEST)).sum(axis=1))
    return np.asarray(-np.log(probabilities[right].clip(_SMALLEST)))


def brier_of_texts(probabilities: Floats, right: Bools) -> Floats:
    """Squared distance between probabilities and right labels, summed over labels, [texts]."""
    return np.asarray(((probabilities - right) ** 2).sum(axis=1))


def negative_log_likelihood(probabilities: Floats, right: Bools, *, independent: bool) -> float:
    """Mean over texts, in nats; where labels are independent the sum over labels."""
    return float(nll_of_texts(probabilities, right, independent=independent).mean())


def place_by_width(confidence: Floats, bins: int = BINS) -> NDArray[np.intp]:
    """The bin of each prediction, of equally wide ones from 0 to 1; a bin has its upper edge."""
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)


def bins_of_width(confidence: Floats, correct: Bools, bins: int = BINS) -> list[Bin]:
    """Bins of equal width from 0 to 1."""
    places = place_by_width(confidence, bins)
    return [_bin(confidence[places == i], correct[places == i]) for i in range(bins)]


def bins_of_mass(confidence: Floats, correct: Bools, bins: int = BINS) -> list[Bin]:
    """Bins of equally many predictions, by rising confidence; equals share a bin.

    So the order of the texts does not matter; a bin may be larger for it, and others empty.
    """
    order = np.argsort(confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    edges = [len(order) * i // bins for i in range(bins + 1)]
    edges = [
        int(np.searchsorted(confidence, confidence[edge - 1], side="right")) if edge else 0
        for edge in edges
    ]
    return [_bin(confidence[low:high], correct[low:high]) for low, high in pairwise(edges)]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Mean distance between confidence and accuracy, weighted by the predictions of each bin.

    None where there are no predictions.
    """
    total = sum(each.count for each in bins)
    if not total:
        return None
    gaps = (
        each.count * abs(each.confidence - each.accuracy)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    )
    return sum(gaps) / total


def rounded(value: Any) -> Any:
    """A figure, or an array of some, as it is kept in a file."""
    return np.round(value, _DIGITS).tolist()


def _bin(confidence: Floats, correct: Bools) -> Bin:
    if not len(confidence):
        return Bin(0, None, None)
    return Bin(len(confidence), float(confidence.mean()), float(correct.mean()))

"""How good a classifier's labels and probabilities are, on texts whose right labels are known.

    evaluate(probabilities, right, labels)

scikit-learn computes what it computes; what it does not, the calibration of all labels together, is here.
Probabilities are float [texts, labels], right labels bool [texts, labels].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

BINS = 15
TOP = (1, 3, 5)
_MOST_CONFUSIONS = 20
_SMALLEST = 1e-12  # of a probability whose logarithm is taken
_NAN = float("nan")

Probabilities = NDArray[np.float64]
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Bin:
    """Predictions of like confidence: how many, how confident, and how often right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class OfLabel:
    """One label: `support` is how many texts have it; average precision where labels are independent."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    average_precision: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was found on `texts` texts.

    accuracy              share of texts whose most probable label is right (all labels, if independent)
    top                   k → share of texts with the right label among the k most probable
    nll, brier            negative log likelihood in nats, Brier score summed over labels; means over texts
    ece_width, ece_mass   expected calibration error over bins of equal width, and of equally many texts
    confidence            mean of the probability of what was predicted
    bins                  those of equal width, for a reliability diagram
    coverage              share of texts kept → accuracy on them, the most confident first
    confusions            right label, predicted label, how often; the most frequent first
    """

    texts: int
    accuracy: float
    top: dict[int, float]
    macro_f1: float
    micro_f1: float
    weighted_f1: float
    nll: float
    brier: float
    ece_width: float
    ece_mass: float
    confidence: float
    mean_average_precision: float | None
    bins: list[Bin]
    coverage: list[tuple[float, float]]
    confusions: list[tuple[str, str, int]]
    of_labels: list[OfLabel]


def evaluate(
    probabilities: Probabilities, right: Right, labels: Sequence[str], *, independent: bool = False
) -> Evaluation:
    """Evaluate probabilities; where labels are independent each label of each text is a prediction."""
    predicted = predictions(probabilities, independent=independent)
    confidence, correct = _judged(probabilities, right, independent=independent)
    scores = metrics.precision_recall_fscore_support(right, predicted, zero_division=0)
    average = (
        [_average_precision(right[:, i], probabilities[:, i]) for i in range(len(labels))]
        if independent
        else None
    )
    return Evaluation(
        texts=len(right),
        accuracy=float((predicted == right).all(axis=1).mean()),
        top={}
        if independent
        else {k: _top(probabilities, right, k) for k in TOP if k < len(labels)},
        macro_f1=_f1(right, predicted, "macro"),
        micro_f1=_f1(right, predicted, "micro"),
        weighted_f1=_f1(right, predicted, "weighted"),
        nll=negative_log_likelihood(probabilities, right, independent=independent),
        brier=float(((probabilities - right) ** 2).sum(axis=1).mean()),
        ece_width=calibration_error(bins_of_width(confidence, correct)),
        ece_mass=calibration_error(bins_of_mass(confidence, correct)),
        confidence=float(confidence.mean()),
        mean_average_precision=float(np.nanmean(average)) if average else None,
        bins=bins_of_width(confidence, correct),
        coverage=_coverage(confidence, correct),
        confusions=[] if independent else _confusions(predicted, right, labels),
        of_labels=[
            OfLabel(label, *map(float, (p, r, f)), int(n), average[i] if average else None)
            for i, (label, p, r, f, n) in enumerate(zip(labels, *scores, strict=True))
        ],
    )


def predictions(probabilities: Probabilities, *, independent: bool) -> Right:
    """The most probable label of each text; where labels are independent those above one half."""
    if independent:
        return np.asarray(probabilities > 0.5)
    return np.asarray(np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(axis=1)])


def negative_log_likelihood(
    probabilities: Probabilities, right: Right, *, independent: bool
) -> float:
    """Mean over texts, in nats; where labels are independent the sum over labels."""
    if independent:
        of_right = np.where(right, probabilities, 1 - probabilities)
        return float(-np.log(of_right.clip(_SMALLEST)).sum(axis=1).mean())
    return float(-np.log(probabilities[right].clip(_SMALLEST)).mean())


def bins_of_width(
    confidence: Probabilities, correct: NDArray[np.bool_], bins: int = BINS
) -> list[Bin]:
    """Bins of equal width from 0 to 1; a bin has its upper edge, as is usual."""
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return [_bin(confidence[places == i], correct[places == i]) for i in range(bins)]


def bins_of_mass(
    confidence: Probabilities, correct: NDArray[np.bool_], bins: int = BINS
) -> list[Bin]:
    """Bins of equally many predictions, by rising confidence."""
    order = np.argsort(confidence, kind="stable")
    return [_bin(confidence[rows], correct[rows]) for rows in np.array_split(order, bins)]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance between confidence and accuracy, weighted by the predictions of each bin."""
    total = sum(each.count for each in bins)
    return (
        sum(each.count * abs(each.confidence - each.accuracy) for each in bins if each.count)
        / total
    )


def _bin(confidence: Probabilities, correct: NDArray[np.bool_]) -> Bin:
    if not len(confidence):
        return Bin(0, _NAN, _NAN)
    return Bin(len(confidence), float(confidence.mean()), float(correct.mean()))


def _judged(
    probabilities: Probabilities, right: Right, *, independent: bool
) -> tuple[Probabilities, NDArray[np.bool_]]:
    """Confidence in each prediction, and whether it is right; of each label where independent."""
    if independent:
        said = probabilities > 0.5
        confidence = np.where(said, probabilities, 1 - probabilities)
        return confidence.ravel(), (said == right).ravel()
    return probabilities.max(axis=1), right[np.arange(len(right)), probabilities.argmax(axis=1)]


def _top(probabilities: Probabilities, right: Right, k: int) -> float:
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(right, best, axis=1).any(axis=1).mean())


def _f1(right: Right, predicted: Right, average: str) -> float:
    return float(metrics.f1_score(right, predicted, average=average, zero_division=0))


def _average_precision(right: NDArray[np.bool_], probabilities: Probabilities) -> float:
    return float(metrics.average_precision_score(right, probabilities)) if right.any() else _NAN


def _coverage(
    confidence: Probabilities, correct: NDArray[np.bool_], points: int = 100
) -> list[tuple[float, float]]:
    order = np.argsort(-confidence, kind="stable")
    kept = np.unique(np.linspace(1, len(order), min(points, len(order))).astype(int))
    right_so_far = np.cumsum(correct[order])
    return [(float(n / len(order)), float(right_so_far[n - 1] / n)) for n in kept]


def _confusions(
    predicted: Right, right: Right, labels: Sequence[str]
) -> list[tuple[str, str, int]]:
    wrong = ~(predicted & right).any(axis=1)
    pairs: Counter[tuple[Any, Any]] = Counter(
        zip(right[wrong].argmax(axis=1), predicted[wrong].argmax(axis=1), strict=True)
    )
    return [(labels[a], labels[b], n) for (a, b), n in pairs.most_common(_MOST_CONFUSIONS)]

"""How well each label is found: precision, recall, F1, and thresholds of labels that are independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from .judging import Bools, Floats, bins_of_mass, calibration_error


@dataclass(frozen=True)
class OfLabel:
    """One label; `support` is how many texts have it, and None what nothing can be said of.

    confidence          mean probability of the label where it is predicted; the precision, if calibrated
    ece                 expected calibration error of its probability, over all texts
    average_precision   where labels are independent, as are all that follow
    threshold           the probability from which on the label was predicted
    best_threshold      the one with the best F1 on these very texts; on others it does a little worse
    best_f1             that F1
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    confidence: float | None = None
    ece: float | None = None
    average_precision: float | None = None
    threshold: float | None = None
    best_threshold: float | None = None
    best_f1: float | None = None


def score_labels(
    probabilities: Floats,
    right: Bools,
    predicted: Bools,
    labels: Sequence[str],
    independent: bool,
    thresholds: Sequence[float] | None,
) -> list[OfLabel]:
    """Scores of each label; `predicted` are the labels predicted, bool [texts, labels]."""
    scores = metrics.precision_recall_fscore_support(
        _wide(right), _wide(predicted), labels=range(len(labels)), zero_division=np.nan
    )
    found = []
    for i, (label, precision, recall, f1, support) in enumerate(zip(labels, *scores, strict=True)):
        own: tuple[float | None, ...] = (None, None, None, None)
        if independent:
            threshold = 0.5 if thresholds is None else _finite(thresholds[i])
            average, *best = _ranking(right[:, i], probabilities[:, i])
            own = (average, threshold, *best)
        said = probabilities[predicted[:, i], i]
        confidence = float(said.mean()) if len(said) else None
        ece = calibration_error(bins_of_mass(probabilities[:, i], right[:, i]))
        scores_of = (_known(precision), _known(recall), _known(f1), int(support))
        found.append(OfLabel(label, *scores_of, confidence, ece, *own))
    return found


def _finite(threshold: float) -> float | None:
    """A threshold; None where it is never reached."""
    return float(threshold) if np.isfinite(threshold) else None


def _ranking(right: Bools, probabilities: Floats) -> tuple[float | None, ...]:
    """Average precision of one label, its threshold with the best F1, and that F1.

    The threshold lies halfway to the next lower probability, so that it holds for others a little off.
    """
    if not right.any():
        return None, None, None
    precision, recall, thresholds = metrics.precision_recall_curve(right, probabilities)
    tops = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    at = int(tops[:-1].argmax())
    below = float(thresholds[at - 1]) if at else 0.0
    average = metrics.average_precision_score(right, probabilities)
    return float(average), (float(thresholds[at]) + below) / 2, float(tops[at])


def mean_f1(right: Bools, predicted: Bools, average: str) -> float | None:
    """Mean F1, `macro`, `micro` or `weighted`, over the labels that occur; None where none does."""
    labels = range(right.shape[1])
    score = metrics.f1_score(
        _wide(right), _wide(predicted), labels=labels, average=average, zero_division=np.nan
    )
    return _known(score)


def _wide(flags: Bools) -> Bools:
    """With one column more: scikit-learn takes a single one for two classes, "it" and "not it"."""
    return np.pad(flags, ((0, 0), (0, 1)))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

"""F1, by scikit-learn: means over labels, and the threshold that makes the most of a label."""

from __future__ import annotations

import math

import numpy as np
from sklearn import metrics

from .scoring_rules import Bools, Floats


def mean_f1(right: Bools, predicted: Bools, average: str) -> float | None:
    """Mean F1, `macro`, `micro` or `weighted`, over the labels that occur; None where none does."""
    labels = range(right.shape[1])
    score = metrics.f1_score(
        widened(right), widened(predicted), labels=labels, average=average, zero_division=np.nan
    )
    return None if math.isnan(score) else float(score)


def best_threshold(probabilities: Floats, right: Bools) -> tuple[float, float] | None:
    """The threshold of one label, [texts], that has the greatest F1, and that F1.

    It lies halfway to the next lower probability, so that it holds for others a little off. None where no
    text has the label.
    """
    if not right.any():
        return None
    precision, recall, thresholds = metrics.precision_recall_curve(right, probabilities)
    tops = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    at = int(tops[:-1].argmax())
    below = float(thresholds[at - 1]) if at else 0.0
    return (float(thresholds[at]) + below) / 2, float(tops[at])


def widened(flags: Bools) -> Bools:
    """With one column more: scikit-learn takes a single one for two classes, "it" and "not it"."""
    return np.pad(flags, ((0, 0), (0, 1)))

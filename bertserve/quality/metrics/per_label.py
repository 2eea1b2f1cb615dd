"""How well each label is found: precision, recall, F1, ranking, and thresholds of independent labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from .f1 import best_threshold, widened
from .scoring_rules import Bools, Floats, bins_of_mass, calibration_error


@dataclass(frozen=True)
class OfLabel:
    """One label; `support` is how many texts have it, and None what nothing can be said of.

    confidence          mean probability of the label where it is predicted; the precision, if calibrated
    ece                 expected calibration error of its probability, over all texts
    roc_auc             how often a text that has the label gets a higher probability of it than one that
                        has not; one half by chance
    average_precision   area below precision against recall; the share of texts that have it, by chance
    threshold           the probability from which on the label was predicted; where labels are
                        independent, as are all that follow
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
    roc_auc: float | None = None
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
        widened(right), widened(predicted), labels=range(len(labels)), zero_division=np.nan
    )
    found = []
    for i, (label, precision, recall, f1, support) in enumerate(zip(labels, *scores, strict=True)):
        column, truth = probabilities[:, i], right[:, i]
        own: tuple[float | None, ...] = (None, None, None)
        if independent:
            threshold = 0.5 if thresholds is None else _finite(thresholds[i])
            own = (threshold, *(best_threshold(column, truth) or (None, None)))
        said = column[predicted[:, i]]
        confidence = float(said.mean()) if len(said) else None
        ece = calibration_error(bins_of_mass(column, truth))
        scores_of = (_known(precision), _known(recall), _known(f1), int(support))
        found.append(OfLabel(label, *scores_of, confidence, ece, *_ranking(truth, column), *own))
    return found


def _finite(threshold: float) -> float | None:
    """A threshold; None where it is never reached."""
    return float(threshold) if np.isfinite(threshold) else None


def _ranking(right: Bools, probabilities: Floats) -> tuple[float | None, float | None]:
    """Area below the ROC curve and average precision of one label; None where its texts do not tell."""
    if not right.any():
        return None, None
    area = None if right.all() else float(metrics.roc_auc_score(right, probabilities))
    return area, float(metrics.average_precision_score(right, probabilities))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

"""Figures of predictions, from probabilities [texts, labels] and right labels.

scoring_rules   log loss, Brier score, and confidence in bins
per_label       precision, recall, F1 and ranking of each label
f1              F1, and the threshold that makes the most of a label
confusion       which labels are taken for which
worst           the texts that a model rates worst
bootstrap       how far a figure may be off
"""

from .bootstrap import (
    FIGURES,
    Interval,
    bootstrap_intervals,
    figures,
    intervals,
    resampled,
    terms_of_texts,
)
from .confusion import Confusion, ConfusionMatrix, count_pairs, matrix_of, most_confused
from .f1 import best_threshold, mean_f1
from .per_label import OfLabel, score_labels
from .scoring_rules import (
    BINS,
    Bin,
    Bools,
    Floats,
    bins_of_mass,
    bins_of_width,
    brier_of_texts,
    calibration_error,
    judged,
    negative_log_likelihood,
    nll_of_texts,
    predictions,
    rounded,
)
from .worst import Worst, worst_indices, worst_texts

__all__ = [
    "BINS",
    "FIGURES",
    "Bin",
    "Bools",
    "Confusion",
    "ConfusionMatrix",
    "Floats",
    "Interval",
    "OfLabel",
    "Worst",
    "best_threshold",
    "bins_of_mass",
    "bins_of_width",
    "bootstrap_intervals",
    "brier_of_texts",
    "calibration_error",
    "count_pairs",
    "figures",
    "intervals",
    "judged",
    "matrix_of",
    "mean_f1",
    "most_confused",
    "negative_log_likelihood",
    "nll_of_texts",
    "predictions",
    "resampled",
    "rounded",
    "score_labels",
    "terms_of_texts",
    "worst_indices",
    "worst_texts",
]

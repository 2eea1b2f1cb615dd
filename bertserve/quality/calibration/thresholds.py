"""Levels that probabilities must reach for a decision, chosen on texts whose right labels are known.

    threshold_for_precision(probabilities, right, 0.98)     of the most probable label
    thresholds_for_precision(probabilities, right, 0.98)    of each label, where they are independent
    thresholds_for_f1(probabilities, right)                 the same, for the greatest F1
    set_level(probabilities, right, 0.95)                   of the labels of a prediction set

Probabilities are calibrated, float [texts, labels]; right labels bool [texts, labels].

A prediction set is a conformal one: all labels whose probability reaches a level that the right label
reached in the wanted share of the texts (the score is one minus the probability of the right label). On
texts that are drawn like those, the right label is in the set at least that often, whatever the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..metrics import Bools, Floats, best_threshold, judged, mean_f1, rounded

HALF = 0.5  # the usual threshold of labels that are independent
Rows = NDArray[np.intp]
Numbers = dict[str, Any]
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


def choose_levels(
    probabilities: Floats,
    right: Bools,
    precision: float | None,
    coverage: float | None,
    set_coverage: float,
    independent: bool,
    f1: bool = False,
) -> Numbers:
    """The levels of calibration.json, see handler/probabilities; None is a level that nothing reaches.

    They are not rounded: they are probabilities of texts, which reach them.
    """
    if independent:
        if f1:
            return {"thresholds": thresholds_for_f1(probabilities, right)}
        if precision is None:
            return {}
        return {"thresholds": thresholds_for_precision(probabilities, right, precision)}
    level = set_level(probabilities, right, set_coverage)
    found: Numbers = {"sets": {"coverage": set_coverage, "level": level}}
    if precision is not None:
        found["threshold"] = threshold_for_precision(probabilities, right, precision)
    elif coverage is not None:
        found["threshold"] = threshold_for_coverage(probabilities, right, coverage)
    return found


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


def thresholds_for_f1(probabilities: Floats, right: Bools) -> list[float]:
    """For each independent label the threshold with the greatest F1; one half where no text has it."""
    columns = zip(probabilities.T, right.T, strict=True)
    found = (best_threshold(column, correct) for column, correct in columns)
    return [each[0] if each else HALF for each in found]


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


def judge_levels(
    probabilities: Floats, right: Bools, folds: Sequence[tuple[Numbers, Rows]]
) -> Numbers:
    """What levels bring on texts that they were not chosen on: those of each fold on its own rows."""
    found: Numbers = {}
    if "threshold" in folds[0][0]:
        thresholds = _of_rows([(_above_all(levels["threshold"]), rows) for levels, rows in folds])
        confidence, correct = judged(probabilities, right, independent=False)
        found["threshold"] = _shares(confidence >= thresholds, correct, "coverage")
    if "thresholds" in folds[0][0]:
        each = [([*map(_above_all, levels["thresholds"])], rows) for levels, rows in folds]
        said = probabilities >= _of_rows(each)
        found["thresholds"] = {
            **_shares(said.ravel(), right.ravel(), "said"),
            "recall": rounded(said[right].mean()),
            "macro_f1": _or_none(mean_f1(right, said, "macro")),
            "macro_f1_at_half": _or_none(mean_f1(right, probabilities >= HALF, "macro")),
        }
    if "sets" in folds[0][0]:
        level = _of_rows([(levels["sets"]["level"], rows) for levels, rows in folds])
        chosen = probabilities >= level[:, None]
        found["sets"] = {
            "coverage": rounded((chosen & right).any(axis=1).mean()),
            "mean_size": rounded(chosen.sum(axis=1).mean()),
            "empty": rounded((~chosen.any(axis=1)).mean()),
        }
    return found


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


def _shares(chosen: Bools, correct: Bools, share: str) -> Numbers:
    """How many are chosen, how many of these correct, and its 95 % interval by Clopper and Pearson."""
    count, right = int(chosen.sum()), int(correct[chosen].sum())
    if not count:
        return {share: 0.0, "precision": None, "interval": None}
    interval = stats.binomtest(right, count).proportion_ci(0.95)
    return {
        share: rounded(chosen.mean()),
        "precision": rounded(right / count),
        "interval": [rounded(interval.low), rounded(interval.high)],
    }


def _above_all(level: float | None) -> float:
    return math.inf if level is None else level


def _of_rows(folds: Sequence[tuple[Any, Rows]]) -> Any:
    """What each fold has, at its rows: [texts] or [texts, labels]."""
    order = np.argsort(np.concatenate([rows for _, rows in folds]))
    return np.concatenate([np.repeat([value], len(rows), axis=0) for value, rows in folds])[order]


def _or_none(value: float | None) -> float | None:
    return None if value is None else rounded(value)

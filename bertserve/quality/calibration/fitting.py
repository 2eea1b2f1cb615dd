"""A calibration and its levels, fitted on all texts and judged on texts that they did not see.

    found = fit_and_judge(logits, right, "temperature", choose, independent=False)
    found["temperature"], found["provenance"]["after"]["ece_width"]

What a fit brings is estimated by cross-validation: the texts are parted into folds, and each is judged by
what was fitted on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from ..metrics import (
    Bools,
    Floats,
    bins_of_mass,
    bins_of_width,
    calibration_error,
    judged,
    negative_log_likelihood,
    nll_of_texts,
    predictions,
    rounded,
)
from .scaling import apply, fit, methods_for, plain
from .thresholds import judge_levels

FOLDS = 5
ALL = "all"  # the methods that there are, of which one is taken
_SEEN = 0.995  # accuracy from which on texts look like those of the training

Rows = NDArray[np.intp]
Numbers = dict[str, Any]


@dataclass(frozen=True)
class CrossFit:
    """A method fitted on all folds but one, for each.

    folds           rows that were fitted on, and rows that were left out
    fitted          the numbers of each
    probabilities   of each text by what was fitted without it, [texts, labels]
    """

    folds: Sequence[tuple[Rows, Rows]]
    fitted: Sequence[Numbers]
    probabilities: Floats


def fit_and_judge(
    logits: Floats,
    right: Bools,
    method: str,
    choose: Callable[[Floats, Bools], Numbers],
    *,
    independent: bool,
    out_of_fold: bool | None = None,
) -> Numbers:
    """A calibration fitted on all texts, its levels, and what both bring on texts they did not see.

    method        one, or `all`: that which cross-validation finds best, see `choose_method`
    out_of_fold   whether levels are chosen on probabilities of texts that the calibration of their fold
                  did not see, since a calibration flatters its own. Usually they are but for independent
                  labels: calibration keeps the order of a label's texts, and thresholds for a precision
                  must suit the very steps of isotonic regression
    """
    methods = methods_for(independent=independent) if method == ALL else [method]
    crossed = {each: cross_fit(logits, right, each, independent=independent) for each in methods}
    told: Numbers = {}
    if method == ALL:
        method, reason = choose_method(crossed, right, independent=independent)
        told = {
            "methods": {
                name: quality(each.probabilities, right, independent=independent)
                for name, each in crossed.items()
            },
            "reason": reason,
        }
    chosen = crossed[method]
    apart = chosen.probabilities
    final = fit(logits, right, method, independent=independent)
    on_own = independent if out_of_fold is None else not out_of_fold

    def levels(numbers: Numbers, rows: Rows | slice) -> Numbers:
        own = apply(numbers, logits[rows], independent=independent) if on_own else apart[rows]
        return choose(own, right[rows])

    of_folds = [
        (levels(numbers, others), own)
        for numbers, (others, own) in zip(chosen.fitted, chosen.folds, strict=True)
    ]
    before = plain(logits, independent=independent)
    return {
        **final,
        **levels(final, slice(None)),
        "provenance": {
            "texts": len(right),
            "folds": FOLDS,
            "before": quality(before, right, independent=independent),
            "after": quality(apart, right, independent=independent),
            **told,
            "looks_seen": _all_right(before, right, independent=independent) >= _SEEN,
            **judge_levels(apart, right, of_folds),
        },
    }


def cross_fit(logits: Floats, right: Bools, method: str, *, independent: bool) -> CrossFit:
    """Fit a method on all folds but one, for each; the same folds for every method."""
    folds = list(KFold(FOLDS, shuffle=True, random_state=0).split(logits))
    fitted = [fit(logits[rows], right[rows], method, independent=independent) for rows, _ in folds]
    apart = np.empty_like(logits)
    for numbers, (_, own) in zip(fitted, folds, strict=True):
        apart[own] = apply(numbers, logits[own], independent=independent)
    return CrossFit(folds, fitted, apart)


def choose_method(
    crossed: Mapping[str, CrossFit], right: Bools, *, independent: bool
) -> tuple[str, str]:
    """The method to take, of some in the order of how much they have to learn, and why in a sentence.

    That with the least negative log likelihood, unless one that has less to learn is within a standard
    error of it (the rule of one standard error; the difference is paired, text by text).
    """
    losses = {
        name: nll_of_texts(each.probabilities, right, independent=independent)
        for name, each in crossed.items()
    }
    best = min(losses, key=lambda name: float(losses[name].mean()))

    def is_as_good(name: str) -> bool:
        behind = losses[name] - losses[best]
        return bool(behind.mean() <= behind.std(ddof=1) / np.sqrt(len(behind)))

    chosen = next(name for name in losses if name == best or is_as_good(name))
    least = (
        f"the least negative log likelihood on texts that it did not see, {losses[best].mean():.4f}"
    )
    if chosen == best:
        return best, f"{best} is taken: it has {least}"
    return chosen, (
        f"{chosen} is taken: {best} has {least}, but {chosen} is within a standard error of it with "
        f"{losses[chosen].mean():.4f}, and has less to learn"
    )


def quality(probabilities: Floats, right: Bools, *, independent: bool) -> Numbers:
    """Negative log likelihood, calibration errors, confidence, and how much is right.

    That is the accuracy; where labels are independent the precision of those from one half on.
    """
    confidence, correct = judged(probabilities, right, independent=independent)
    found = {
        "nll": negative_log_likelihood(probabilities, right, independent=independent),
        "ece_width": calibration_error(bins_of_width(confidence, correct)),
        "ece_mass": calibration_error(bins_of_mass(confidence, correct)),
        "precision" if independent else "accuracy": correct.mean() if len(correct) else None,
        "confidence": confidence.mean() if len(correct) else None,
    }
    return {name: value if value is None else rounded(value) for name, value in found.items()}


def _all_right(probabilities: Floats, right: Bools, *, independent: bool) -> float:
    """Share of texts whose labels are all right."""
    predicted = predictions(probabilities, independent=independent)
    return float((predicted == right).all(axis=1).mean())

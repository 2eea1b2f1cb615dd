"""Two classifiers side by side, on the same texts whose right labels are known.

    found = compare(one, other, right, labels)
    found.p_value, found.differences["accuracy"]

Differences are the other one's figure less the first one's. Both are paired: each text is judged by both,
so that what is hard about a text does not count as chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import ConfigError
from .evaluation import check
from .metrics import (
    FIGURES,
    Bools,
    Floats,
    figures,
    intervals,
    predictions,
    resampled,
    terms_of_texts,
)


@dataclass(frozen=True)
class Difference:
    """A figure of the other model less the first one's, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What sets two models apart on `texts` texts.

    only_one, only_other   texts that only the first, and only the other, has wholly right
    p_value                of McNemar's exact test: how likely models that are equally good differ so much
    differences            accuracy (exact_match if independent), nll, brier and ece_width, by bootstrap
    labels_changed         share of texts that get another label, or other labels
    largest_shift          of any label's probability on any text
    mean_shift             mean over all labels of all texts
    """

    texts: int
    only_one: int
    only_other: int
    p_value: float
    differences: dict[str, Difference]
    labels_changed: float
    largest_shift: float
    mean_shift: float


def compare(
    one: Floats,
    other: Floats,
    right: Bools,
    labels: Sequence[str],
    *,
    other_labels: Sequence[str] | None = None,
    independent: bool = False,
    thresholds: Sequence[float] | None = None,
    other_thresholds: Sequence[float] | None = None,
) -> Comparison:
    """Compare probabilities, float [texts, labels] each; `right` is bool [texts, labels].

    labels         the order of `one`, of `right` and of `thresholds`
    other_labels   the order of `other` and of `other_thresholds`, if it is another one

    ConfigError where the models do not have the same labels.
    """
    if other_labels is not None:
        order = reordering(other_labels, labels)
        other = other[:, order]
        if other_thresholds is not None:
            other_thresholds = [other_thresholds[i] for i in order]
    for each in (one, other):
        check(each, right, labels, independent=independent)
    by_one = predictions(one, independent=independent, thresholds=thresholds)
    by_other = predictions(other, independent=independent, thresholds=other_thresholds)
    right_by_one, right_by_other = ((by == right).all(axis=1) for by in (by_one, by_other))
    only_one = int((right_by_one & ~right_by_other).sum())
    only_other = int((right_by_other & ~right_by_one).sum())
    shifts = np.abs(other - one)
    return Comparison(
        texts=len(right),
        only_one=only_one,
        only_other=only_other,
        p_value=mcnemar(only_one, only_other),
        differences=_differences(
            independent,
            terms_of_texts(one, right, independent=independent, thresholds=thresholds),
            terms_of_texts(other, right, independent=independent, thresholds=other_thresholds),
        ),
        labels_changed=float((by_one != by_other).any(axis=1).mean()),
        largest_shift=float(shifts.max()),
        mean_shift=float(shifts.mean()),
    )


def reordering(labels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where each wanted label stands in `labels`; ConfigError where they are not the same labels."""
    if len(labels) != len(wanted) or set(labels) != set(wanted):
        only = [f'"{label}"' for label in sorted({*labels} ^ {*wanted})[:5]]
        raise ConfigError(
            "the models have different labels"
            + (f" ({', '.join(only)}, for one)" if only else "")
            + "; compare models that were trained on the same ones"
        )
    places = {label: place for place, label in enumerate(labels)}
    return [places[label] for label in wanted]


def mcnemar(only_one: int, only_other: int) -> float:
    """Exact two-sided p of so uneven a split of the texts that only one model has right."""
    if not only_one + only_other:
        return 1.0
    return float(stats.binomtest(only_one, only_one + only_other).pvalue)


def _differences(independent: bool, one: Floats, other: Floats) -> dict[str, Difference]:
    """Of terms of the same texts, both drawn alike."""
    values = figures(other.mean(axis=0)) - figures(one.mean(axis=0))
    found = intervals(
        [figures(b) - figures(a) for a, b in zip(resampled(one), resampled(other), strict=True)],
        values,
    )
    return {
        "exact_match" if independent and name == "accuracy" else name: Difference(
            float(value), *found[name]
        )
        for name, value in zip(FIGURES, values, strict=True)
    }

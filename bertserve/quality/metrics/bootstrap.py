"""How far a figure may be off because the texts are these and not others: the percentile bootstrap.

    bootstrap_intervals(probabilities, right)["accuracy"]      # (0.925, 0.942)

Texts are drawn anew, with replacement, 1,000 times, and each time the figures are computed; 95 % of them
are inside. Figures come from sums over texts, so that a product of matrices computes many resamples.
The seed is fixed: the same probabilities give the same intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .scoring_rules import (
    BINS,
    Bools,
    Floats,
    brier_of_texts,
    judged,
    nll_of_texts,
    place_by_width,
    predictions,
)

RESAMPLES = 1000
FIGURES = ("accuracy", "nll", "brier", "ece_width")
_SUMS = 4  # terms before those of the bins
_PERCENTILES = (2.5, 97.5)
_AT_ONCE = 4_000_000  # draws that memory holds at a time

Interval = tuple[float, float]


def bootstrap_intervals(
    probabilities: Floats,
    right: Bools,
    *,
    independent: bool = False,
    thresholds: Sequence[float] | None = None,
) -> dict[str, Interval]:
    """95 % intervals of accuracy, nll, brier and ece_width.

    An expected calibration error is a sum of distances, which chance makes longer, in each resample once
    more: its resamples are moved down by as much, so that their mean is the figure itself.
    """
    terms = terms_of_texts(probabilities, right, independent=independent, thresholds=thresholds)
    values = [figures(means) for means in resampled(terms)]
    found = intervals(values, figures(terms.mean(axis=0)))
    return {name: (max(low, 0.0), high) for name, (low, high) in found.items()}


def terms_of_texts(
    probabilities: Floats,
    right: Bools,
    *,
    independent: bool = False,
    thresholds: Sequence[float] | None = None,
) -> Floats:
    """What each text adds to the figures, [texts, 4 + BINS].

    First whether all of it is right, nll, brier, and how many predictions it has; then by bin how much
    more confident than right these are.
    """
    predicted = predictions(probabilities, independent=independent, thresholds=thresholds)
    confidence, correct = judged(
        probabilities, right, independent=independent, thresholds=thresholds
    )
    counts = predicted.sum(axis=1)
    gaps = np.zeros((len(right), BINS))
    rows = np.repeat(np.arange(len(right)), counts)
    np.add.at(gaps, (rows, place_by_width(confidence)), confidence - correct)
    firsts = (
        (predicted == right).all(axis=1),
        nll_of_texts(probabilities, right, independent=independent),
        brier_of_texts(probabilities, right),
        counts,
    )
    return np.column_stack([*firsts, gaps])


def figures(means: Floats) -> Floats:
    """FIGURES of means of terms; [..., 4] of [..., 4 + BINS]."""
    gaps = np.abs(means[..., _SUMS:]).sum(axis=-1)
    # where nothing is predicted there are no gaps either
    ece = gaps / np.where(gaps > 0, means[..., _SUMS - 1], 1)
    return np.concatenate([means[..., : _SUMS - 1], ece[..., None]], axis=-1)


def resampled(terms: Floats, seed: int = 0) -> Iterator[Floats]:
    """Means of terms over texts drawn anew, several resamples at a time, the same ones for a seed."""
    draws = np.random.default_rng(seed)
    texts = len(terms)
    at_once = max(1, _AT_ONCE // texts)
    for first in range(0, RESAMPLES, at_once):
        drawn = draws.integers(texts, size=(min(at_once, RESAMPLES - first), texts))
        counts = np.stack([np.bincount(row, minlength=texts) for row in drawn])
        yield counts @ terms / texts


def intervals(values: Sequence[Floats], figures: Floats) -> dict[str, Interval]:
    """What 95 % of the resamples are inside, by figure; the figure itself always is."""
    drawn = np.concatenate(values)
    ece = FIGURES.index("ece_width")
    drawn[:, ece] += figures[ece] - drawn[:, ece].mean()
    low, high = np.percentile(drawn, _PERCENTILES, axis=0)
    low, high = np.minimum(low, figures), np.maximum(high, figures)
    return {name: (float(a), float(b)) for name, a, b in zip(FIGURES, low, high, strict=True)}

"""Which labels are taken for which, where each text has one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .scoring_rules import Bools

_MOST_CONFUSIONS = 20
_MOST_IN_MATRIX = 14  # labels that a heat map has room for


@dataclass(frozen=True)
class Confusion:
    """Texts with label `right` that were taken for `predicted`: how many, and of all with that label."""

    right: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class ConfusionMatrix:
    """Texts by right label (row) and predicted label (column), of the labels that are confused most.

    `others` counts, a row each, the texts that were taken for labels that are not among these.
    """

    labels: list[str]
    counts: list[list[int]]
    others: list[int]


def count_pairs(right: Bools, predicted: Bools) -> NDArray[np.int64]:
    """Texts by right and predicted label, [labels, labels]."""
    return np.asarray(right.T.astype(np.int64) @ predicted.astype(np.int64))


def most_confused(counts: NDArray[np.int64], labels: Sequence[str]) -> list[Confusion]:
    """The most frequent confusions first, of counts [labels, labels]."""
    return [
        Confusion(labels[a], labels[b], n, n / int(counts[a].sum()))
        for (a, b), n in _pairs(counts).most_common(_MOST_CONFUSIONS)
    ]


def matrix_of(counts: NDArray[np.int64], labels: Sequence[str]) -> ConfusionMatrix:
    """All labels where there are few; else those of the most frequent confusions, pairs side by side."""
    chosen = list(range(len(labels)))
    if len(labels) > _MOST_IN_MATRIX:
        ends = [end for pair, _ in _pairs(counts).most_common() for end in pair]
        chosen = list(dict.fromkeys(ends))[:_MOST_IN_MATRIX]
    inside = counts[np.ix_(chosen, chosen)]
    others = counts[chosen].sum(axis=1) - inside.sum(axis=1)
    return ConfusionMatrix([labels[i] for i in chosen], inside.tolist(), others.tolist())


def _pairs(counts: NDArray[np.int64]) -> Counter[tuple[int, int]]:
    """How often each label was taken for each other one."""
    rows, columns = np.nonzero(counts * ~np.eye(len(counts), dtype=bool))
    places = zip(rows.tolist(), columns.tolist(), strict=True)
    return Counter({(a, b): int(counts[a, b]) for a, b in places})

"""The texts that a model rates worst, for people who may read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...inputs import Input, Pair
from .scoring_rules import Bools, Floats, predictions


@dataclass(frozen=True)
class Worst:
    """A text that a model rates badly; `probability` is of the right label, or of what is wrong most."""

    index: int
    text: str
    right: list[str]
    predicted: list[str]
    probability: float
    text_pair: str | None = None


def worst_indices(
    probabilities: Floats, right: Bools, k: int, *, independent: bool = False
) -> NDArray[np.intp]:
    """Indices of the k texts whose right label got the lowest probability, the lowest first.

    Where labels are independent, whose label that is most wrong is so most.
    """
    return np.argsort(_of_right(probabilities, right, independent), kind="stable")[: max(k, 0)]


def worst_texts(
    texts: Sequence[Input],
    probabilities: Floats,
    right: Bools,
    labels: Sequence[str],
    k: int,
    *,
    independent: bool = False,
    thresholds: Sequence[float] | None = None,
) -> list[Worst]:
    """The k texts that `worst_indices` finds, with their labels; for people who may read the texts."""
    predicted = predictions(probabilities, independent=independent, thresholds=thresholds)
    lowest = _of_right(probabilities, right, independent)
    return [
        Worst(
            index=int(row),
            text=text.text if isinstance(text := texts[row], Pair) else text,
            right=[labels[i] for i in np.flatnonzero(right[row]).tolist()],
            predicted=[labels[i] for i in np.flatnonzero(predicted[row]).tolist()],
            probability=float(lowest[row]),
            text_pair=text.text_pair if isinstance(text, Pair) else None,
        )
        for row in worst_indices(probabilities, right, k, independent=independent)
    ]


def _of_right(probabilities: Floats, right: Bools, independent: bool) -> Floats:
    """The lowest probability that each text's right labels got, [texts]."""
    if independent:
        return np.asarray(np.where(right, probabilities, 1 - probabilities).min(axis=1))
    return np.asarray(probabilities[right])

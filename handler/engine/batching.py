"""Texts of all requests together, sorted by length, cut into micro-batches by a token budget."""

from __future__ import annotations

from collections.abc import Sequence


def micro_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Cut texts into micro-batches of neighbours in length, the shortest first.

    lengths         tokens of each text
    token_budget    tokens of one micro-batch, padding included: its longest text × its texts

    Returns the indices of the texts of each micro-batch; each index appears once. A text that is
    longer than the budget is a micro-batch of its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches[::-1]

"""A long text is classified in chunks: each goes through the model, and their logits come together."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import RequestError
from ..values import Encoding

Problems = list[RequestError | None]


def all_chunks(encodings: Sequence[Encoding]) -> list[Encoding]:
    """The chunks of all texts, one after the other; a text that is short enough is its own."""
    return [piece for each in encodings for piece in (each, *each.further)]


def aggregate(
    logits: torch.Tensor, problems: Problems, encodings: Sequence[Encoding], aggregation: str
) -> tuple[torch.Tensor, Problems]:
    """Logits [texts, labels] from those of their pieces [pieces, labels], and the problem of each text.

    `aggregation` is `mean`, or `max`: the highest logit of each label. A problem of one piece is one of
    its text.
    """
    if not any(each.further for each in encodings):
        return logits, problems
    counts = [1 + len(each.further) for each in encodings]
    rows = [
        part.amax(dim=0) if aggregation == "max" else part.mean(dim=0)
        for part in torch.split(logits, counts)
    ]
    left = iter(problems)
    found = [[next(left) for _ in range(count)] for count in counts]
    return torch.stack(rows), [next(filter(None, each), None) for each in found]

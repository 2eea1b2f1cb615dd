"""What stands for a GPU's attention and its graphs where there is none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from handler.engine.attention import Packing
from handler.engine.kernels import NO_POSITIONS, Positions
from handler.engine.packing import PackedModel

Found = tuple[torch.Tensor, ...]


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float,
    positions: Positions = NO_POSITIONS,
) -> torch.Tensor:
    """It knows the texts by their starts on the device alone, and leaves all else unwritten."""
    longest = max(packing.lengths)  # as it was when it was captured
    output = torch.full_like(query, torch.nan)
    for start, stop in zip(packing.starts, packing.starts[1:], strict=False):
        some = slice(start, min(stop, start + longest))
        q, k, v = (tensor[some].transpose(0, 1)[None] for tensor in (query, key, value))
        places = torch.arange(q.shape[2])
        near = (places[:, None] - places).abs() <= positions.window
        mask = near if positions.window >= 0 else None
        found = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        output[some] = found[0].transpose(0, 1)
    return output


def as_on_a_gpu(model: PreTrainedModel, takes_token_types: bool) -> PackedModel:
    """A packed model whose micro-batches are computed as they come."""
    packed = PackedModel(model, attend, takes_token_types)
    packed.rounds_up = False
    return packed


class Captured:
    """Nothing but what is on the device changes from one replay to the next."""

    def __init__(self) -> None:
        self.replays = 0

    def __call__(self, compute: Callable[[], Found]) -> tuple[Callable[[], None], Found]:
        found = tuple(torch.full_like(each, torch.nan) for each in compute())

        def replay() -> None:
            self.replays += 1
            for kept, new in zip(found, compute(), strict=True):
                kept.copy_(new)

        return replay, found

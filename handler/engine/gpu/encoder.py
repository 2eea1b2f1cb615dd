"""An encoder on a GPU in as few kernels as can be, where it is built as BERT's or ModernBERT's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from transformers.activations import GELUActivation

from ..encoders import Absolute, Columns
from ..kernels import NO_POSITIONS, Positions
from ..modules import BatchInvariantLinear
from ..packing import PackedModel
from ..placed_encoder import PlacedEncoder, of_each_layer

_Angles = tuple[torch.Tensor, torch.Tensor]
_THREE = ("query", "key", "value")


class Pointwise(Protocol):
    """What lies between products; the modules `kernels` and `plain` have it."""

    def add_norm(
        self, values: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, adds_sums: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the sum of two [rows, size]: what is added to next, itself or its layer norm; and that."""

    def gated_gelu(self, values: torch.Tensor) -> torch.Tensor:
        """[rows, 2 × size] → [rows, size]: the exact GELU of the first half times the second."""

    def turn(
        self,
        qkv: torch.Tensor,
        position_ids: torch.Tensor,
        cosines: torch.Tensor,
        sines: torch.Tensor,
    ) -> torch.Tensor:
        """Queries and keys of [tokens, 3, heads, size], turned by their positions' angles.

        cosines, sines  of each position, [positions, size / 2], float32
        """


@dataclass(frozen=True, slots=True)
class _Layer:
    """The parts of a layer, query, key and value being one product, and what positions do in it."""

    qkv: Any
    attended: Any
    after_attention: Any
    inner: Any
    activation: Callable[[torch.Tensor], torch.Tensor]
    outer: Any
    after_outer: Any
    positions: Positions
    angles: _Angles | None


class GpuEncoder(PlacedEncoder):
    """An encoder of few kernels: products, attention, and what a `Pointwise` does in between.

    longest     tokens of the longest text that there may be
    """

    def __init__(self, packed: PackedModel, pointwise: Pointwise, longest: int) -> None:
        super().__init__(packed)
        parts, base = packed.parts, packed.base
        assert parts is not None
        self._pointwise = pointwise
        self._adds_sums, self._gated = parts.adds_sums, parts.gated
        self._heads = base.config.num_attention_heads
        distances = packed.distances or Absolute(base, parts)
        self._scaling = distances.scaling
        positions: list[tuple[Positions, _Angles | None]] = (
            _positions(base, longest)
            if self._among_layers
            else [(each, None) for each in distances.for_texts(longest)]
        )
        self._layers = [
            _Layer(**layer, positions=of_layer, angles=angles)
            for layer, (of_layer, angles) in zip(
                of_each_layer(parts, self._as_layer), positions, strict=True
            )
        ]
        self.take_place(parts)

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `PlacedEncoder`."""
        packed, step = self._packed[0], self._pointwise
        packing = packed.packing
        added_to = x = hidden
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(x).view(len(x), 3, self._heads, -1)
            if layer.angles:
                qkv = step.turn(qkv, packed.position_ids[0], *layer.angles)
            query, key, value = qkv.unbind(1)
            context = packed.attend(query, key, value, packing, self._scaling, layer.positions)
            context = context.flatten(1)
            if self._firsts and number == len(self._layers) - 1:  # nothing looks at the others
                firsts = packing.starts[:-1]
                context, added_to = context[firsts], added_to[firsts]
            attended = layer.attended(context)
            added_to, x = step.add_norm(attended, added_to, layer.after_attention, self._adds_sums)
            outer = layer.outer(layer.activation(layer.inner(x)))
            added_to, x = step.add_norm(outer, added_to, layer.after_outer, self._adds_sums)
        return x

    def _as_layer(self, layer: dict[str, Any]) -> dict[str, Any]:
        for name in ("after_attention", "after_outer"):
            if type(layer[name]) is not nn.LayerNorm:
                raise ValueError("its norms are of another kind")
        activation = layer["activation"]
        if self._gated:
            if type(activation) is not GELUActivation:
                raise ValueError("its activation is of another kind")
            activation = self._pointwise.gated_gelu
        return {
            **{name: _whole(layer[name]) for name in ("attended", "inner", "outer")},
            "qkv": _joined([layer[name] for name in _THREE]),
            "activation": activation,
            "after_attention": layer["after_attention"],
            "after_outer": layer["after_outer"],
        }


def _whole(part: Any) -> Any:
    return part.linear if isinstance(part, Columns) else part


def _joined(parts: list[Any]) -> Any:
    """Layers that read the same as one whose columns are theirs, one after the other."""
    if isinstance(parts[0], Columns):
        return parts[0].linear  # they are columns of one, all of it
    first = parts[0]
    biases = [part.bias for part in parts]
    columns, depth = (sum(len(part.weight) for part in parts), first.weight.shape[1])
    some = any(bias is not None for bias in biases)
    joined = nn.Linear(depth, columns, bias=some, device="meta")
    joined.weight = nn.Parameter(torch.cat([part.weight for part in parts]), requires_grad=False)
    if some:
        whole = torch.cat(
            [
                part.weight.new_zeros(len(part.weight)) if bias is None else bias
                for part, bias in zip(parts, biases, strict=True)
            ]
        )
        joined.bias = nn.Parameter(whole, requires_grad=False)
    return BatchInvariantLinear(joined) if isinstance(first, BatchInvariantLinear) else joined


def _positions(base: Any, longest: int) -> list[tuple[Positions, _Angles | None]]:
    """Of each layer of a ModernBERT: how far its tokens see, and the angles of positions."""
    like = next(base.parameters())
    places = torch.arange(longest, device=like.device)[None]
    kinds = base.config.layer_types
    angles = {}
    for kind in set(kinds):
        turned = base.rotary_emb(like.new_empty(0, dtype=torch.float32), places, kind)
        cosines, sines = (part[0].chunk(2, dim=-1)[0].contiguous() for part in turned)
        angles[kind] = (cosines, sines)
    # a window of transformers' counts the token itself
    windows = [layer.attn.sliding_window for layer in base.layers]
    return [
        (NO_POSITIONS if window is None else Positions(window=window - 1), angles[kind])
        for window, kind in zip(windows, kinds, strict=True)
    ]

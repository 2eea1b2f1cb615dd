"""An encoder on a GPU in as few kernels as can be, where it is built as BERT's or ModernBERT's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from transformers.activations import GELUActivation
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from ..encoders import Absolute, Columns
from ..kernels import NO_POSITIONS, Positions
from ..modules import BatchInvariantLinear
from ..packing import PackedModel, pools_mean

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


class GpuEncoder(nn.Module):
    """Packed hidden states become those that a head looks at.

    It takes the place of a packed model's encoder, until `undo`; ValueError where that is built in
    another way.

    longest     tokens of the longest text that there may be
    """

    def __init__(self, packed: PackedModel, pointwise: Pointwise, longest: int) -> None:
        super().__init__()
        if not (parts := packed.parts) or not parts.layers:
            raise ValueError("no encoder that is known")
        base = packed.base
        # in lists, so that they are no parts of this module
        self._packed, self._pointwise = [packed], pointwise
        self._among_layers = parts.names[0] == "layers"  # which a model goes through itself
        self._before = parts.before
        self._adds_sums = parts.adds_sums
        self._heads = base.config.num_attention_heads
        distances = packed.distances
        self._scaling = (distances or Absolute(base, parts)).scaling
        self._firsts = not pools_mean(base)
        self._gated = parts.gated
        positions: list[tuple[Positions, _Angles | None]] = (
            _positions(base, longest)
            if self._among_layers
            else [(each, None) for each in (distances or Absolute(base, parts)).for_texts(longest)]
        )
        made: dict[int, dict[str, Any]] = {}  # a layer may come again
        self._layers = []
        for number, layer in enumerate(parts.layers):
            if id(layer["outer"]) not in made:
                made[id(layer["outer"])] = self._as_layer(layer)
            of_layer, (of_positions, angles) = made[id(layer["outer"])], positions[number]
            self._layers.append(_Layer(**of_layer, positions=of_positions, angles=angles))
        self._own = {name: getattr(base, name) for name in parts.names}
        if self._among_layers:
            self.attention_type = base.config.layer_types[0]
            base.layers, base.final_norm = nn.ModuleList([self]), nn.Identity()
        else:
            setattr(base, parts.names[0], self)

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """[1, tokens, size] → [texts, 1, size] of first tokens, or all."""
        packed, step = self._packed[0], self._pointwise
        packing = packed.packing
        x = hidden_states[0] if self._before is None else self._before(hidden_states[0])
        added_to, x = x, x
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
        found = x[:, None] if self._firsts else x[None]
        if self._among_layers:
            return found
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=found, hidden_states=(found,)
        )

    def undo(self) -> None:
        """Put the model's own encoder back."""
        for name, module in self._own.items():
            setattr(self._packed[0].base, name, module)

    def stay(self) -> None:
        """Let the model's own encoder go: weights that lie otherwise here would be kept twice."""
        self._own.clear()
        self._packed[0].parts = None

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
        zeros = first.weight.new_zeros(depth)
        whole = torch.cat([zeros if bias is None else bias for bias in biases])
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

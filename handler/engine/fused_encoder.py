"""A whole encoder in one call, where it is built as BERT's or ModernBERT's, of products in tiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from .encoders import NORMS, PRODUCTS, TILE, Absolute, Columns, Rotary
from .kernels import Encoder, Kernels, Layer, Norm, Positions, Product
from .modules import Gelu, LayerNorm, QuantizedLinear, TiledLinear
from .packing import PackedModel, pools_mean


class FusedEncoder(nn.Module):
    """Packed hidden states become those that a head looks at.

    It takes the place of a packed model's encoder, until `undo`; ValueError where that is built in
    another way.
    """

    def __init__(self, packed: PackedModel, kernels: Kernels) -> None:
        super().__init__()
        self._packed = [packed]  # in a list, so that it is no part of this module
        self._kernels = kernels
        if not (parts := packed.parts) or not parts.layers:
            raise ValueError("no encoder that can be fused")
        self._among_layers = parts.names[0] == "layers"  # which a model goes through itself
        kind = Rotary if self._among_layers else Absolute
        self._positions = packed.distances or kind(packed.base, parts)
        self._filled: list[Positions] = []  # those that layers have
        self._kept: list[torch.Tensor] = []  # what pointers point to
        made: dict[int, Layer] = {}  # a layer may come again
        for layer in parts.layers:
            if id(layer["outer"]) not in made:
                made[id(layer["outer"])] = self._as_layer(layer)
        layers = [made[id(layer["outer"])] for layer in parts.layers]
        self._before = parts.before
        self._layers = (Layer * len(layers))(*layers)
        base = packed.base
        self._encoder = Encoder(
            layers=self._layers,
            count=len(layers),
            heads=base.config.num_attention_heads,
            scaling=self._positions.scaling,
            adds_sums=parts.adds_sums,
            gated=parts.gated,
            firsts=not pools_mean(base),
        )
        # kept: new memory costs more than its use
        self._scratch = torch.empty(0, dtype=torch.uint8)
        self._own = {name: getattr(base, name) for name in parts.names}
        if self._among_layers:
            self.attention_type = base.config.layer_types[0]
            base.layers, base.final_norm = nn.ModuleList([self]), nn.Identity()
        else:
            setattr(base, parts.names[0], self)

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """[1, tokens, size] → [texts, 1, size] of first tokens, or all, bfloat16."""
        packing = self._packed[0].packing
        hidden = hidden_states[0] if self._before is None else self._before(hidden_states[0])
        positions = self._positions.for_texts(max(packing.lengths))
        if positions is not self._filled:
            self._filled = positions
            for layer, of_layer in zip(self._layers, positions, strict=True):
                layer.positions = of_layer
        needed = self._kernels.encode_scratch(self._encoder, len(hidden))
        if len(self._scratch) < needed:
            self._scratch = torch.empty(needed, dtype=torch.uint8)
        found = self._kernels.encode(self._encoder, hidden, packing.starts, self._scratch)
        found = found[:, None] if self._encoder.firsts else found[None]
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

    def _as_layer(self, layer: dict[str, Any]) -> Layer:
        if type(layer["activation"]) is not Gelu:
            raise ValueError("its activation is none of the kernels'")
        products = {name: self._as_product(layer[name]) for name in PRODUCTS}
        if len({bool(product.scales) for product in products.values()}) > 1:
            raise ValueError("its products are of more than one kind")
        return Layer(**products, **{name: self._as_norm(layer[name]) for name in NORMS})

    def _as_product(self, part: Any) -> Product:
        linear = part.linear if isinstance(part, Columns) else part
        if not isinstance(linear, TiledLinear | QuantizedLinear):
            raise ValueError("its products are none of the kernels'")
        of_columns = [linear.bias]
        if isinstance(linear, QuantizedLinear):
            of_columns += [linear.scales, linear.starts]
        tiles = linear.tiles
        if isinstance(part, Columns):
            tiles = tiles[part.tiles]  # no copy where they lie side by side
            of_columns = [each.view(-1, TILE)[part.tiles].flatten() for each in of_columns]
        self._kept += [tiles, *of_columns]
        bias, scales, starts = ([each.data_ptr() for each in of_columns] + [None, None])[:3]
        return Product(tiles.data_ptr(), scales, starts, bias, linear.depth, len(of_columns[0]))

    def _as_norm(self, norm: Any) -> Norm:
        if not isinstance(norm, LayerNorm):
            raise ValueError("its norms are none of the kernels'")
        self._kept += [norm.weight, norm.bias]
        return Norm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)

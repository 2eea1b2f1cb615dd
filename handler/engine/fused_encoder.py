"""A whole encoder in one call, where it is built as BERT's or ModernBERT's, of products in tiles."""

from __future__ import annotations

from typing import Any

import torch

from .encoders import NORMS, PRODUCTS, TILE, Absolute, Columns, Rotary
from .kernels import Encoder, Kernels, Layer, Norm, Positions, Product
from .modules import Gelu, LayerNorm, QuantizedLinear, TiledLinear
from .packing import PackedModel
from .placed_encoder import PlacedEncoder, of_each_layer


class FusedEncoder(PlacedEncoder):
    """An encoder that the kernels compute; in bfloat16 or int8, whose results are bfloat16."""

    def __init__(self, packed: PackedModel, kernels: Kernels) -> None:
        super().__init__(packed)
        parts, base = packed.parts, packed.base
        assert parts is not None
        self._kernels = kernels
        kind = Rotary if self._among_layers else Absolute
        self._positions = packed.distances or kind(base, parts)
        self._filled: list[Positions] = []  # those that layers have
        self._kept: list[torch.Tensor] = []  # what pointers point to
        layers = of_each_layer(parts, self._as_layer)
        self._layers = (Layer * len(layers))(*layers)
        self._encoder = Encoder(
            layers=self._layers,
            count=len(layers),
            heads=base.config.num_attention_heads,
            scaling=self._positions.scaling,
            adds_sums=parts.adds_sums,
            gated=parts.gated,
            firsts=self._firsts,
        )
        # kept: new memory costs more than its use
        self._scratch = torch.empty(0, dtype=torch.uint8)
        self.take_place(parts)

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `PlacedEncoder`."""
        packing = self._packed[0].packing
        positions = self._positions.for_texts(max(packing.lengths))
        if positions is not self._filled:
            self._filled = positions
            for layer, of_layer in zip(self._layers, positions, strict=True):
                layer.positions = of_layer
        needed = self._kernels.encode_scratch(self._encoder, len(hidden))
        if len(self._scratch) < needed:
            self._scratch = torch.empty(needed, dtype=torch.uint8)
        return self._kernels.encode(self._encoder, hidden, packing.starts, self._scratch)

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

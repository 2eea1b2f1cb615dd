"""A whole encoder in one call, where it is built as BERT's and its products are in tiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from .attention import Packing
from .kernels import Kernels, Layer, Norm, Product
from .modules import Gelu, LayerNorm, QuantizedLinear, TiledLinear

# where the parts of a layer are in BERT and its kin, and in DistilBERT
_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "after_attention": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "activation": "intermediate.intermediate_act_fn",
    "outer": "output.dense",
    "after_outer": "output.LayerNorm",
}
_DISTILBERT = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attended": "attention.out_lin",
    "after_attention": "sa_layer_norm",
    "inner": "ffn.lin1",
    "activation": "ffn.activation",
    "outer": "ffn.lin2",
    "after_outer": "output_layer_norm",
}
_PRODUCTS = ("query", "key", "value", "attended", "inner", "outer")
_NORMS = ("after_attention", "after_outer")
_KINDS = (("encoder", _BERT), ("transformer", _DISTILBERT))


class FusedEncoder(nn.Module):
    """Packed hidden states become those of the first token of each text.

    It takes the place of `base`'s encoder, until `undo`; ValueError where that is built in another way.
    """

    def __init__(self, base: Any, kernels: Kernels) -> None:
        super().__init__()
        self._base = [base]  # in a list, so that it is no part of this module
        self._name, self._encoder, parts = _find(base)
        self._layers = (Layer * len(parts))(*map(_as_layer, parts))
        self._heads = base.config.num_attention_heads
        size = parts[0]["query"].columns // self._heads
        self._scaling = size**-0.5
        self._kernels = kernels
        # kept: new memory costs more than its use
        self._scratch = torch.empty(0, dtype=torch.uint8)
        setattr(base, self._name, self)

    def forward(
        self, hidden_states: torch.Tensor, *, packing: Packing, **_: Any
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """[1, tokens, size] → [1, texts, size], bfloat16."""
        hidden = hidden_states[0]
        needed = self._kernels.encode_scratch(self._layers, len(hidden))
        if len(self._scratch) < needed:
            self._scratch = torch.empty(needed, dtype=torch.uint8)
        firsts = self._kernels.encode(
            self._layers, hidden, packing.starts, self._heads, self._scaling, self._scratch
        )
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=firsts[None])

    def undo(self) -> None:
        """Put the model's own encoder back."""
        setattr(self._base[0], self._name, self._encoder)


def _find(base: nn.Module) -> tuple[str, nn.Module, list[dict[str, Any]]]:
    """The encoder's name, itself, and the parts of each of its layers."""
    for name, paths in _KINDS:
        try:
            encoder = base.get_submodule(name)
            parts = [
                {part: layer.get_submodule(path) for part, path in paths.items()}
                for layer in encoder.get_submodule("layer").children()
            ]
        except AttributeError:
            continue
        kinds = {type(layer[part]) for layer in parts for part in _PRODUCTS}
        norms = {type(layer[part]) for layer in parts for part in _NORMS}
        others = {type(layer["activation"]) for layer in parts}
        in_tiles = kinds in ({TiledLinear}, {QuantizedLinear})
        if in_tiles and norms == {LayerNorm} and others == {Gelu}:
            return name, encoder, parts
    raise ValueError("no encoder that can be fused")


def _as_layer(parts: dict[str, Any]) -> Layer:
    products = {name: _as_product(parts[name]) for name in _PRODUCTS}
    norms = {name: _as_norm(parts[name]) for name in _NORMS}
    return Layer(**products, **norms)


def _as_product(linear: TiledLinear | QuantizedLinear) -> Product:
    in_int8: tuple[int | None, int | None] = (None, None)
    if isinstance(linear, QuantizedLinear):
        in_int8 = (linear.scales.data_ptr(), linear.starts.data_ptr())
    return Product(
        linear.tiles.data_ptr(), *in_int8, linear.bias.data_ptr(), linear.depth, linear.columns
    )


def _as_norm(norm: LayerNorm) -> Norm:
    return Norm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)

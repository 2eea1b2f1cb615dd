"""Where the parts of an encoder are, in the architectures that are built as BERT is, or ModernBERT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

PRODUCTS = ("query", "key", "value", "attended", "inner", "outer")
NORMS = ("after_attention", "after_outer")

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
_DEBERTA = {**_BERT, **{name: f"attention.self.{name}_proj" for name in ("query", "key", "value")}}
_MPNET = {
    **_BERT,
    "query": "attention.attn.q",
    "key": "attention.attn.k",
    "value": "attention.attn.v",
    "attended": "attention.attn.o",
    "after_attention": "attention.LayerNorm",
}
_ALBERT = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "attended": "attention.dense",
    "after_attention": "attention.LayerNorm",
    "inner": "ffn",
    "activation": "activation",
    "outer": "ffn_output",
    "after_outer": "full_layer_layer_norm",
}


TILE = 16  # columns of a weight that lie together


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of a linear layer's results: whole tiles, in the order of their numbers."""

    linear: Any
    tiles: torch.Tensor | slice


@dataclass(frozen=True, slots=True)
class Parts:
    """An encoder and the parts of each of its layers.

    names       what its model has it under, and what the last layer takes over
    layers      by name: modules, or columns of one
    before      what comes before the layers, or None
    adds_sums   whether sums before a norm, not what it makes of them, are what is added to next
    gated       whether of each two tiles of `inner` the first's GELU is multiplied by the second
    """

    names: tuple[str, ...]
    layers: list[dict[str, Any]]
    before: Any = None
    adds_sums: bool = False
    gated: bool = False


def parts_of(base: Any) -> Parts | None:
    """Those of a model's encoder; None where it is built in another way."""
    for name, layers_of, paths in (
        ("encoder", _stacked, _BERT),
        ("encoder", _stacked, _DEBERTA),
        ("encoder", _stacked, _MPNET),
        ("encoder", _shared, _ALBERT),
        ("transformer", _stacked, _DISTILBERT),
    ):
        try:
            encoder = base.get_submodule(name)
            layers = [
                {part: layer.get_submodule(path) for part, path in paths.items()}
                for layer in layers_of(encoder)
            ]
        except AttributeError:
            continue
        return Parts((name,), layers, getattr(encoder, "embedding_hidden_mapping_in", None))
    sizes = (base.config.hidden_size, getattr(base.config, "intermediate_size", 1))
    if base.config.model_type == "modernbert" and not any(size % TILE for size in sizes):
        layers = list(_modernbert(base))
        return Parts(("layers", "final_norm"), layers, adds_sums=True, gated=True)
    return None


def _stacked(encoder: nn.Module) -> Iterator[nn.Module]:
    return encoder.get_submodule("layer").children()


def _shared(encoder: Any) -> Iterator[nn.Module]:
    """ALBERT's: layers of a group are computed again and again."""
    groups = list(encoder.get_submodule("albert_layer_groups").children())
    count = encoder.config.num_hidden_layers
    for number in range(count):
        yield from groups[int(number / (count / len(groups)))].albert_layers


def _modernbert(base: Any) -> Iterator[dict[str, Any]]:
    """A norm there comes before what it belongs to, so after what is before that."""
    tiles = base.config.hidden_size // TILE
    gated = torch.arange(2 * base.config.intermediate_size // TILE).view(2, -1).t().flatten()
    norms = [*(layer.attn_norm for layer in base.layers[1:]), base.final_norm]
    for layer, norm in zip(base.layers, norms, strict=True):
        query, key, value = (
            Columns(layer.attn.Wqkv, slice(number * tiles, (number + 1) * tiles))
            for number in range(3)
        )
        yield {
            "query": query,
            "key": key,
            "value": value,
            "attended": layer.attn.Wo,
            "after_attention": layer.mlp_norm,
            "inner": Columns(layer.mlp.Wi, gated),
            "activation": layer.mlp.act,
            "outer": layer.mlp.Wo,
            "after_outer": norm,
        }

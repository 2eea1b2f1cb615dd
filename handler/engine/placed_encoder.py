"""What computes an encoder in another way, in the place of the model's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from .encoders import Parts
from .packing import PackedModel, pools_mean

Made = TypeVar("Made")


class PlacedEncoder(nn.Module, ABC):
    """Packed hidden states become those that a head looks at.

    It takes the place of a packed model's encoder with `take_place`, until `undo`; ValueError where
    that is built in another way. `encode` is what a subclass brings.
    """

    def __init__(self, packed: PackedModel) -> None:
        super().__init__()
        if not packed.parts or not packed.parts.layers:
            raise ValueError("no encoder that is known")
        self._packed = [packed]  # in a list, so that it is no part of this module
        self._among_layers = packed.parts.names[0] == "layers"  # which a model goes through itself
        self._before = packed.parts.before
        self._firsts = not pools_mean(packed.base)
        self._own: dict[str, Any] = {}

    @abstractmethod
    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        """[tokens, size] → the same after all layers, or of first tokens alone, [texts, size]."""

    def take_place(self, parts: Parts) -> None:
        """Be the model's encoder."""
        base = self._packed[0].base
        self._own = {name: getattr(base, name) for name in parts.names}
        if self._among_layers:
            self.attention_type = base.config.layer_types[0]
            base.layers, base.final_norm = nn.ModuleList([self]), nn.Identity()
        else:
            setattr(base, parts.names[0], self)

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """[1, tokens, size] → [texts, 1, size] of first tokens, or all."""
        hidden = hidden_states[0]
        found = self.encode(hidden if self._before is None else self._before(hidden))
        found = found[:, None] if self._firsts else found[None]
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


def of_each_layer(parts: Parts, make: Callable[[dict[str, Any]], Made]) -> list[Made]:
    """What is made of each layer; of one that comes again, once."""
    made: dict[int, Made] = {}
    for layer in parts.layers:
        if id(layer["outer"]) not in made:
            made[id(layer["outer"])] = make(layer)
    return [made[id(layer["outer"])] for layer in parts.layers]

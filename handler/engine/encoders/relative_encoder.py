"""An encoder whose attention knows how far apart two tokens are, on texts in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from ..attention import Attend, Packing
from .parts import Parts
from .positions import Relative


class RelativeEncoder(nn.Module):
    """Packed hidden states become those of the first token of each text.

    transformers' attention of these models is not to be replaced alone. This takes the place of `base`'s
    encoder, until `undo`.
    """

    def __init__(
        self,
        base: Any,
        parts: Parts,
        positions: Relative,
        attend: Attend,
        packing: Callable[[], Packing],
    ) -> None:
        super().__init__()
        # in lists, so that they are no parts of this module
        self._base, self._layers, self._own = (
            [base],
            [parts.layers],
            [getattr(base, parts.names[0])],
        )
        self._name = parts.names[0]
        self._heads = base.config.num_attention_heads
        self._positions = positions
        self._attend = attend
        self._packing = packing
        setattr(base, self._name, self)

    def forward(self, hidden_states: Any, *_: Any, **__: Any) -> BaseModelOutput:
        """[1, tokens, size] → [texts, 1, size]."""
        packing, x = self._packing(), hidden_states[0]
        layers = self._layers[0]
        positions = self._positions.for_texts(max(packing.lengths))
        for number, layer in enumerate(layers):
            query, key, value = (
                layer[name](x).view(len(x), self._heads, -1) for name in ("query", "key", "value")
            )
            scaling = self._positions.scaling
            context = self._attend(query, key, value, packing, scaling, positions[number])
            context = context.flatten(1)
            if number == len(layers) - 1:  # nothing looks at the other tokens
                x, context = x[packing.starts[:-1]], context[packing.starts[:-1]]
            x = layer["after_attention"](layer["attended"](context) + x)
            x = layer["after_outer"](layer["outer"](layer["activation"](layer["inner"](x))) + x)
        return BaseModelOutput(last_hidden_state=x[:, None], hidden_states=(x[:, None],))

    def undo(self) -> None:
        """Put the model's own encoder back."""
        setattr(self._base[0], self._name, self._own[0])

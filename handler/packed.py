"""Padding-free forward: a micro-batch is one row of tokens, and each text attends to itself alone.

transformers' own extension points carry it: an attention function registered under a name of ours, and
keyword arguments that its models hand through to that function.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from .values import Encoding

_NAME = "packed"


@dataclass(frozen=True, slots=True)
class Packing:
    """How texts lie in a row of tokens: `runs` of (texts, length) of neighbours of the same length."""

    runs: list[tuple[int, int]]


def attend(
    module: torch.nn.Module,  # noqa: ARG001
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    *,
    packing: Packing,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each text, in one call for a run of texts of one length.

    query, key, value   [1, heads, tokens, size]

    Returns [1, tokens, heads, size].
    """
    if sliding_window is not None:
        raise NotImplementedError("attention within a window cannot be packed")
    # as the model's linear layers leave them: [tokens, heads, size], without a copy
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    output = torch.empty_like(query)
    start = 0
    for texts, length in packing.runs:
        stop = start + texts * length
        shape = (texts, length, *query.shape[1:])
        q, k, v = (tensor[start:stop].view(shape).transpose(1, 2) for tensor in (query, key, value))
        attended = scaled_dot_product_attention(q, k, v, scale=scaling)
        output[start:stop].view(shape).copy_(attended.transpose(1, 2))
        start = stop
    return output[None], None


AttentionInterface.register(_NAME, attend)
AttentionMaskInterface.register(_NAME, lambda **_: None)


class PackedModel:
    """A sequence classification model that reads micro-batches without padding.

    It changes `model`: its attention, and where its pooled position is looked up.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._takes_token_types = "token_type_ids" in inspect.signature(model.forward).parameters
        self._padding_index = padding_index(model)
        self._firsts = torch.zeros(1, dtype=torch.long)
        self._attention = model.config._attn_implementation
        model.set_attn_implementation(_NAME)
        base = model.base_model
        self._hooks = [base.register_forward_hook(self._gather_output)]
        if pooler := getattr(base, "pooler", None):
            self._hooks.append(pooler.register_forward_pre_hook(self._gather_input))

    def __call__(self, encodings: Sequence[Encoding]) -> torch.Tensor:
        """Logits [texts, labels]; neighbours of one length attend in one call."""
        lengths = [len(encoding.input_ids) for encoding in encodings]
        self._firsts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
        input_ids = _row([encoding.input_ids for encoding in encodings])
        inputs = {"input_ids": input_ids, "position_ids": self._positions(input_ids, lengths)}
        if self._takes_token_types:
            inputs["token_type_ids"] = _row([encoding.token_type_ids for encoding in encodings])
        runs = [(len(list(run)), length) for length, run in groupby(lengths)]
        logits: torch.Tensor = self._model(**inputs, packing=Packing(runs)).logits
        return logits

    def _positions(self, input_ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Positions that start over at each text, [1, tokens]."""
        if self._padding_index is None:
            return torch.cat([torch.arange(length) for length in lengths])[None]
        # RoBERTa and its kin count tokens that are no padding, which a text may hold too, from there on
        counted = (input_ids[0] != self._padding_index).long()
        seen = counted.cumsum(0)
        before = (seen - counted)[self._firsts].repeat_interleave(torch.tensor(lengths))
        return ((seen - before) * counted + self._padding_index)[None]

    def undo(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._model.set_attn_implementation(self._attention)

    def _gather_input(self, _: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (self._gather(inputs[0]), *inputs[1:])

    def _gather_output(self, _: Any, __: Any, output: Any) -> Any:
        output["last_hidden_state"] = self._gather(output["last_hidden_state"])
        return output

    def _gather(self, hidden: torch.Tensor) -> torch.Tensor:
        """The first token of each text, [texts, 1, size], from a row of tokens [1, tokens, size]."""
        return hidden[0, self._firsts][:, None]


def padding_index(model: PreTrainedModel) -> int | None:
    """The position of padding in models that count positions from the one after it; None in others."""
    embeddings = getattr(model.base_model, "embeddings", None)
    index = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    return None if index is None else int(index)


def pack(
    model: PreTrainedModel, encodings: Sequence[Encoding], expected: torch.Tensor
) -> tuple[PackedModel | None, str]:
    """The model without padding if it then gives the `expected` logits, and why not where it does not.

    encodings   texts of several lengths, short and long
    expected    logits of the unchanged model, [texts, labels]
    """
    packed = PackedModel(model)
    try:
        difference = (packed(encodings).float() - expected).abs().max().item()
    except Exception as error:  # an architecture that does not follow transformers' interface
        reason = type(error).__name__
    else:
        precision = max(1e-4, 16 * torch.finfo(model.dtype).eps)
        if difference <= precision * max(1.0, expected.abs().max().item()):
            return packed, ""
        reason = f"its logits differ by {difference:.2g}"
    packed.undo()
    return None, reason


def _row(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.tensor([[token for row in rows for token in row]])

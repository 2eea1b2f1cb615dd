"""Padding-free forward: a micro-batch is one row of tokens, and each text attends to itself alone.

transformers' own extension points carry it: an attention function registered under a name of ours, and
keyword arguments that its models hand through to that function.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from ..values import Encoding
from .attention import Attend, NotPackable, Packing
from .encoders import ByBuckets, Relative, RelativeEncoder, knows_distances, parts_of
from .kernels import NO_POSITIONS, Positions
from .model_inputs import embedding_sizes, inputs_to_device

_NAME = __name__  # of this copy: a process may have an archive's and the project's own
_UNKNOWN = {"softcap", "s_aux", "position_bias"}  # what some models add to attention
_FEW, _MANY = 16, 64  # tokens of small and of large micro-batches come in multiples of these


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    attend: Attend,
    packing: Packing,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers' models call: [1, heads, tokens, size] → [1, tokens, heads, size]."""
    if attention_mask is not None or others.keys() & _UNKNOWN:
        raise NotPackable("its attention is more than softmax of products")
    if query.shape != key.shape or getattr(module, "is_causal", False):
        raise NotPackable("its tokens do not all attend to each other")
    # as the model's linear layers leave them: [tokens, heads, size], without a copy
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    positions = NO_POSITIONS if sliding_window is None else _window(module, sliding_window)
    return attend(query, key, value, packing, scaling, positions)[None], None


def _window(module: Any, sliding_window: int) -> Positions:
    """How far a token sees by transformers' masks, of which a layer says one more, as ModernBERT's do."""
    window = getattr(module.config, "sliding_window", None)
    if sliding_window - 1 != window:
        raise NotPackable("its window is of another kind")
    return Positions(window=window)


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, lambda **_: None)


class PackedModel:
    """A sequence classification model that reads micro-batches without padding.

    It changes `model`: its attention, and what its encoder gives. `packing` and `position_ids` are those
    of the texts that it is at.
    """

    def __init__(self, model: PreTrainedModel, attend: Attend, takes_token_types: bool) -> None:
        self._model = model
        self.attend = attend
        self.device = model.device
        self._takes_token_types = takes_token_types
        self._padding_index = padding_index(model)
        self.sizes = embedding_sizes(model)
        self.packing = Packing.of([1], self.device)
        self.position_ids = torch.zeros(1, 1, dtype=torch.int64)
        self.rounds_up = self.device.type == "cpu"
        self.base: Any = model.base_model
        self.parts = parts_of(self.base)
        self.distances: Relative | None = None
        self._relative: RelativeEncoder | None = None
        self._hooks: list[RemovableHandle] = []
        self._attention = model.config._attn_implementation
        if self.parts and knows_distances(self.base):
            kind = Relative if self.device.type == "cpu" else ByBuckets
            self.distances = kind(self.base, self.parts)
            self._relative = RelativeEncoder(
                self.base, self.parts, self.distances, attend, lambda: self.packing
            )
            return
        if _angles_depend_on_others(self.base):
            raise NotPackable("its angles depend on the longest text")
        encoder = _encoder(self.base)
        self._hooks.append(encoder.register_forward_hook(self._gather_output))
        pooler = getattr(self.base, "pooler", None)
        if encoder is self.base and isinstance(pooler, torch.nn.Module):
            self._hooks.append(pooler.register_forward_pre_hook(self._gather_input))
        model.set_attn_implementation(_NAME)
        if (output := _last_output(self.base)) is not None:
            self._hooks.append(output.register_forward_pre_hook(self._narrow_inputs))

    def __call__(self, encodings: Sequence[Encoding]) -> torch.Tensor:
        """Logits [texts, labels], on the model's device."""
        return self._logits(encodings, self.attend)

    def _logits(self, encodings: Sequence[Encoding], attend: Attend) -> torch.Tensor:
        texts = len(encodings)
        if self.rounds_up:
            encodings = [*encodings, *_filler(encodings)]
        lengths = [len(encoding.input_ids) for encoding in encodings]
        packing = Packing.of(lengths, self.device)
        inputs = inputs_to_device(self.read(encodings), self.device, self.sizes)
        return self.compute(inputs, packing, attend)[:texts]

    def read(self, encodings: Sequence[Encoding]) -> dict[str, torch.Tensor]:
        """What the model is given of texts, [1, tokens] each, on the CPU."""
        lengths = [len(encoding.input_ids) for encoding in encodings]
        input_ids = _row([encoding.input_ids for encoding in encodings])
        inputs = {"input_ids": input_ids, "position_ids": self._positions(input_ids, lengths)}
        if self._takes_token_types:
            inputs["token_type_ids"] = _row([encoding.token_type_ids for encoding in encodings])
        return inputs

    def compute(
        self, inputs: dict[str, torch.Tensor], packing: Packing, attend: Attend | None = None
    ) -> torch.Tensor:
        """Logits [texts, labels] of what `read` gave, once it is on the device."""
        self.packing, self.position_ids = packing, inputs["position_ids"]
        # transformers' modules hand these through to `_attend`
        through = {} if self._relative else {"attend": attend or self.attend, "packing": packing}
        logits: torch.Tensor = self._model(**inputs, **through).logits
        return logits

    def checked(self, encodings: Sequence[Encoding]) -> torch.Tensor:
        """The same; NotPackable where a layer does not call the attention that it is given."""
        if self._relative:
            return self(encodings)
        calls = 0

        def counted(*arguments: Any, **others: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return self.attend(*arguments, **others)

        logits = self._logits(encodings, counted)
        layers = getattr(self._model.config, "num_hidden_layers", None)
        if calls != (len(self.parts.layers) if self.parts else layers):
            raise NotPackable("it does not use transformers' attention interface")
        return logits

    def _positions(self, input_ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Positions that start over at each text, [1, tokens]."""
        of_texts = torch.tensor(lengths)
        firsts = of_texts.cumsum(0) - of_texts
        if self._padding_index is None:
            return (torch.arange(input_ids.shape[1]) - firsts.repeat_interleave(of_texts))[None]
        # RoBERTa and its kin count tokens that are no padding, which a text may hold too, from there on
        counted = (input_ids[0] != self._padding_index).long()
        seen = counted.cumsum(0)
        before = (seen - counted)[firsts].repeat_interleave(of_texts)
        return ((seen - before) * counted + self._padding_index)[None]

    def undo(self) -> None:
        """Leave the model as it was."""
        if self._relative:
            self._relative.undo()
        for hook in self._hooks:
            hook.remove()
        self._model.set_attn_implementation(self._attention)

    def _gather_input(self, _: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (self.pooled(inputs[0]), *inputs[1:])

    def _gather_output(self, _: Any, __: Any, output: Any) -> Any:
        output["last_hidden_state"] = self.pooled(output["last_hidden_state"])
        return output

    def pooled(self, hidden: torch.Tensor) -> torch.Tensor:
        """What a head looks at of each text, [texts, 1, size], of a row of tokens [1, tokens, size]."""
        starts = self.packing.starts
        texts = len(starts) - 1
        if hidden.shape[:2] == (texts, 1):  # of a fused encoder
            return hidden
        if hidden.dim() == 3 and hidden.shape[1] == texts:  # narrowed, or texts of one token
            return hidden[0][:, None]
        self._refuse_others(hidden)
        if pools_mean(self._model):
            means = torch.segment_reduce(
                hidden[0].float(), "mean", lengths=starts.diff(), unsafe=True
            )
            return means.to(hidden.dtype)[:, None]
        return hidden[0, starts[:-1]][:, None]

    def _narrow_inputs(self, _: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """From here on the last layer computes first tokens alone: nothing looks at the others."""
        self._refuse_others(*inputs)
        return tuple(tensor[:, self.packing.starts[:-1]] for tensor in inputs)

    def _refuse_others(self, *tensors: torch.Tensor) -> None:
        """NotPackable for what is no row of tokens: a GPU that reads beyond it is lost to us."""
        tokens = sum(self.packing.lengths)
        if any(tensor.dim() != 3 or tensor.shape[1] != tokens for tensor in tensors):
            raise NotPackable("it computes something else than states of tokens")


def _encoder(base: Any) -> torch.nn.Module:
    """What a model's pooler, where it has one, comes after."""
    parts = (getattr(base, name, None) for name in ("encoder", "transformer"))
    return next((part for part in parts if isinstance(part, torch.nn.Module)), base)


def _angles_depend_on_others(base: Any) -> bool:
    """Whether transformers computes rotary positions by the longest text of a batch."""
    kinds = getattr(getattr(base, "rotary_emb", None), "rope_type", None) or {}
    named = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(word in str(kind) for kind in named for word in ("dynamic", "longrope"))


def _last_output(base: Any) -> torch.nn.Module | None:
    """What follows attention in the last layer, where a model is built as BERT is."""
    try:
        output = base.encoder.layer[-1].attention.output
    except (AttributeError, IndexError, TypeError):
        return None
    return output if isinstance(output, torch.nn.Module) else None


def pools_mean(model: PreTrainedModel) -> bool:
    """Whether a head looks at the mean of a text's tokens, as most of ModernBERT's, not at the first."""
    return getattr(model.config, "classifier_pooling", "cls") == "mean"


def padding_index(model: PreTrainedModel) -> int | None:
    """The position of padding in models that count positions from the one after it; None in others."""
    embeddings = getattr(model.base_model, "embeddings", None)
    index = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    return None if index is None else int(index)


def _filler(encodings: Sequence[Encoding]) -> list[Encoding]:
    """Texts that round the tokens of a micro-batch up, for oneDNN prepares anew for each number of them.

    They are as short as the shortest text, so that the model can read them.
    """
    tokens = sum(len(encoding.input_ids) for encoding in encodings)
    left = -tokens % (_FEW if tokens <= _FEW * _FEW else _MANY)
    shortest = min((encoding.input_ids for encoding in encodings), key=len)
    fillers = []
    while left:
        ids = shortest[:left]
        fillers.append(Encoding(ids, [0] * len(ids), truncated=False))
        left -= len(ids)
    return fillers


def _row(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    whole = array("q", chain.from_iterable(rows))  # four times as fast as a list
    return torch.frombuffer(whole, dtype=torch.int64)[None]

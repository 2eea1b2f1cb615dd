"""Integrated gradients: what each token of a text adds to a label's logit.

From a baseline, in which each token but the tokenizer's own is padding, a straight line leads to the
text, both as embeddings [tokens, size]. What the logit gains along that line is shared out among the
entries, so the shares sum to the whole gain (completeness): Sundararajan, Taly and Yan, 2017,
https://arxiv.org/abs/1703.01365.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..engine import State, inputs_of, load_model
from ..values import Encoding

# points on the line: doubled until the sum is right, which takes most where a model's head has kinks
STEPS = (32, 64, 128, 256, 512)
# how far the sum may be from the logit's change, as a share of it and in logits
_SHARE, _FLOOR = 0.02, 0.01
# tokens that are computed at once, which bounds the memory of what gradients need
_TOKENS_AT_ONCE = 512
_PRECISION = 1e-3


class TooLate(Exception):
    """An explanation takes longer than it may."""


class NotOfTheModel(Exception):
    """The model gives another logit from embeddings than from tokens, or one that is not finite."""


@dataclass(frozen=True, slots=True)
class Attributions:
    """What each token adds to the logit, [tokens], from `baseline_logit` to `logit`."""

    values: list[float]
    logit: float
    baseline_logit: float

    @property
    def gap(self) -> float:
        """How far the sum is from the change of the logit."""
        return abs(sum(self.values) - (self.logit - self.baseline_logit))

    @property
    def is_complete(self) -> bool:
        """Whether the sum is as good as the change of the logit."""
        return self.gap <= max(_FLOOR, _SHARE * abs(self.logit - self.baseline_logit))


class Gradients:
    """A plain copy of a folder's classifier in float32, and what captum makes of its gradients.

    ImportError where captum is not installed. The model that is served has no gradients: its layers are
    replaced by kernels or rounded, and it may compute several texts as one.
    """

    def __init__(
        self,
        model_dir: Path,
        device: torch.device,
        pad_token_id: int,
        gives_token_types: bool = True,
    ) -> None:
        from captum.attr import IntegratedGradients

        self._model = load_model(model_dir, "float32").to(device).eval().requires_grad_(False)
        self._inputs = inputs_of(self._model, gives_token_types)
        self._state = State(self._model)
        self._method = IntegratedGradients
        self._padding = torch.tensor([pad_token_id], device=device)
        self._device = device

    def __call__(
        self, encoding: Encoding, is_special: Sequence[bool], label: int, last: float
    ) -> Attributions:
        """The attributions of one text's tokens for the logit of one label.

        is_special   which tokens are the tokenizer's own; they are alike in text and baseline, and so
                     carry nothing
        last         time.monotonic() after which no further step is computed: the best so far is
                     answered, TooLate where there is none
        """
        ids = torch.tensor([encoding.input_ids], device=self._device)
        types = torch.tensor([encoding.token_type_ids], device=self._device)
        embed = self._model.get_input_embeddings()
        special = torch.tensor(is_special, device=self._device)[:, None]
        text = embed(ids)
        baseline = torch.where(special, text, embed(self._padding))

        def logits(embeddings: torch.Tensor) -> torch.Tensor:
            """[rows, tokens, size] → [rows]."""
            if time.monotonic() > last:
                raise TooLate
            return self._logits(types, inputs_embeds=embeddings)[:, label]

        with torch.no_grad():
            ends = logits(torch.cat([text, baseline])).tolist()
            own = self._logits(types, input_ids=ids)[0, label].item()
        if not abs(own - ends[0]) <= _PRECISION * max(1.0, abs(own)):
            raise NotOfTheModel
        best: Attributions | None = None
        for steps in STEPS:
            try:
                shares = self._method(logits).attribute(
                    text,
                    baselines=baseline,
                    n_steps=steps,
                    method="gausslegendre",
                    internal_batch_size=max(1, _TOKENS_AT_ONCE // ids.shape[1]),
                )
            except TooLate:
                if best is None:
                    raise
                break
            found = Attributions(shares.double().sum(dim=2)[0].tolist(), *ends)
            if best is None or found.gap < best.gap:
                best = found
            if best.is_complete:
                break
        assert best is not None
        if not best.gap < float("inf"):
            raise NotOfTheModel
        return best

    def _logits(self, types: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits [rows, labels] of rows of one text, which are all of its length."""
        rows, tokens = next(iter(inputs.values())).shape[:2]
        mask = torch.ones(rows, tokens, dtype=torch.int64, device=self._device)
        for name, tensor in {"attention_mask": mask, "token_type_ids": types}.items():
            if name in self._inputs:
                inputs[name] = tensor.expand(rows, -1)
        try:
            logits: torch.Tensor = self._model(**inputs).logits
        finally:
            self._state.restore()
        return logits

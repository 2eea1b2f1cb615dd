"""Micro-batches of token ids become logits."""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from .attention import choose_attention, to_device
from .batching import micro_batches
from .errors import RequestError
from .kernels.library import kernels
from .modules import Replacement, faster
from .packed import PackedModel
from .values import Encoding

# tokens of a micro-batch: few enough for a CPU's caches, enough to fill a GPU; the first unless measured
TOKEN_BUDGETS = {"cpu": (2_048, 512, 1_024, 4_096, 8_192), "cuda": (32_768, 16_384, 65_536)}
_ROUNDS, _SECONDS = 3, 2.0  # of trying them
_WORTH_IT = 1.03  # a larger budget makes others wait longer
_LONGEST_TRIED = 1_024

logger = logging.getLogger(__name__)


class _Change(Protocol):
    def undo(self) -> None: ...


class Classifier:
    """A sequence classification model on its device, made as fast as it stays right.

    `token_budget` is the size of a micro-batch in tokens, padding included. `forward` is `packed` where
    the model was found to give the same without padding, else `padded`; `attention` names what computes
    it. `out_of_memory` counts the times that the budget was halved.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        device: torch.device,
        pad_token_id: int,
        token_budget: int | None = None,
    ) -> None:
        self.device = device
        self.architecture = type(model).__name__
        self.token_budget = token_budget or TOKEN_BUDGETS[device.type][0]
        self.forward = "padded"
        self.attention = str(model.config._attn_implementation)
        self.out_of_memory = 0
        self._packed: PackedModel | None = None
        self._model = model.to(device).eval()
        self._pad_token_id = pad_token_id
        self._takes_token_types = "token_type_ids" in inspect.signature(model.forward).parameters

    @torch.inference_mode()
    def __call__(
        self, encodings: Sequence[Encoding], time_limit: float = math.inf
    ) -> tuple[torch.Tensor, list[RequestError | None]]:
        """Logits [texts, labels] in order, float32 on the CPU; and what went wrong with each text.

        Short texts come first, and no further micro-batch is begun after `time_limit` seconds, so that
        few long texts cannot keep many short ones waiting.
        """
        last = time.monotonic() + time_limit
        problems: list[RequestError | None] = [_too_late(time_limit)] * len(encodings)
        parts: list[torch.Tensor] = []
        order: list[int] = []
        waiting = self._micro_batches(encodings, range(len(encodings)))
        while waiting and (not order or time.monotonic() <= last):
            indices = waiting.pop(0)
            try:
                parts.append(self._forward([encodings[index] for index in indices]))
            except torch.OutOfMemoryError:
                if len(indices) == 1:
                    problems[indices[0]] = _too_large()
                    continue
                self._halve_budget(len(indices) * len(encodings[indices[-1]].input_ids))
                left = [index for batch in [indices, *waiting] for index in batch]
                waiting = self._micro_batches(encodings, left)
                continue
            order += indices
            for index in indices:
                problems[index] = None
        logits = torch.zeros(len(encodings), self._model.config.num_labels)
        if parts:
            logits[order] = torch.cat(parts).float().cpu()  # one transfer, whatever the device
        return logits, problems

    def _micro_batches(
        self, encodings: Sequence[Encoding], indices: Sequence[int]
    ) -> list[list[int]]:
        lengths = [len(encodings[index].input_ids) for index in indices]
        batches = micro_batches(lengths, self.token_budget)
        return [[indices[number] for number in batch] for batch in batches]

    def _halve_budget(self, tried: int) -> None:
        """Keep to smaller micro-batches from now on; `tried` tokens were too many."""
        torch.cuda.empty_cache()
        self.token_budget = max(1, min(self.token_budget, tried) // 2)
        self.out_of_memory += 1
        logger.warning("out of GPU memory: micro-batches of %d tokens now", self.token_budget)

    def _forward(self, encodings: list[Encoding]) -> torch.Tensor:
        """Logits of one micro-batch, on the device."""
        return self._packed(encodings) if self._packed else self._padded(encodings)

    def _padded(self, encodings: list[Encoding]) -> torch.Tensor:
        """Logits of one micro-batch, padded to its longest text."""
        longest = max(len(encoding.input_ids) for encoding in encodings)
        inputs = {
            "input_ids": _pad([e.input_ids for e in encodings], longest, self._pad_token_id),
            "attention_mask": _pad([[1] * len(e.input_ids) for e in encodings], longest, 0),
        }
        if self._takes_token_types:
            inputs["token_type_ids"] = _pad([e.token_type_ids for e in encodings], longest, 0)
        inputs = {name: to_device(tensor, self.device) for name, tensor in inputs.items()}
        logits: torch.Tensor = self._model(**inputs).logits
        return logits

    @torch.inference_mode()
    def speed_up(self, max_length: int) -> None:
        """Use faster modules and no padding, each where random texts then get the same logits."""
        generator = torch.Generator().manual_seed(0)
        texts = [
            self._random_text(min(length, max_length), generator)
            for length in (min(max_length, _LONGEST_TRIED), 30, 12, 7, 7, 3)
        ]
        expected = torch.cat([self._padded([text]) for text in texts])
        dtype = self._model.dtype
        if self.device.type == "cpu" and dtype in (torch.float32, torch.bfloat16):
            library = kernels() if dtype == torch.bfloat16 else None
            replace = partial(faster, kernels=library)
            if reason := self._differs(
                lambda: Replacement(self._model, replace), self._padded, texts, expected
            ):
                logger.info("%s keeps its own modules: %s", self.architecture, reason)
        name, attend = choose_attention(self.device, dtype)
        reason = self._differs(self._pack(attend), self._forward, texts, expected)
        if reason:
            self._packed = None
            logger.info("%s is served with padding: %s", self.architecture, reason)
        else:
            self.forward, self.attention = "packed", name

    def _pack(self, attend: Any) -> Callable[[], PackedModel]:
        def change() -> PackedModel:
            self._packed = PackedModel(self._model, attend)
            return self._packed

        return change

    def _differs(
        self,
        change: Callable[[], _Change],
        forward: Callable[[list[Encoding]], torch.Tensor],
        texts: list[Encoding],
        expected: torch.Tensor,
    ) -> str:
        """Why logits [texts, labels] are not as `expected` after a change, which is undone then."""
        changed = change()
        try:
            difference = (forward(texts).float() - expected.float()).abs().max().item()
        except Exception as error:  # an architecture that does not follow transformers' interface
            reason = type(error).__name__
        else:
            precision = max(1e-4, 16 * torch.finfo(self._model.dtype).eps)
            if difference <= precision * max(1.0, expected.float().abs().max().item()):
                return ""
            reason = f"its logits would differ by {difference:.2g}"
        changed.undo()
        return reason

    def _random_text(self, length: int, generator: torch.Generator) -> Encoding:
        ids = torch.randint(self._model.config.vocab_size, (length,), generator=generator).tolist()
        return Encoding(ids, [0] * length, truncated=False)

    def choose_token_budget(self, max_length: int) -> None:
        """Take the budget at which texts of mixed lengths are classified fastest here."""
        budgets = sorted(TOKEN_BUDGETS[self.device.type])
        generator = torch.Generator().manual_seed(0)
        texts: list[Encoding] = []
        while sum(len(text.input_ids) for text in texts) < budgets[-1]:
            length = int(torch.empty(1).log_normal_(4.0, 0.6, generator=generator).item()) + 3
            texts.append(self._random_text(min(length, max_length), generator))
        seconds = dict.fromkeys(budgets, math.inf)
        end = time.monotonic() + _SECONDS
        for _ in range(_ROUNDS):
            for self.token_budget in budgets:
                start = time.monotonic()
                self(texts)
                seconds[self.token_budget] = min(
                    seconds[self.token_budget], time.monotonic() - start
                )
            if time.monotonic() > end:
                break
        fastest = min(seconds.values())
        self.token_budget = next(b for b in budgets if seconds[b] <= fastest * _WORTH_IT)

    def warm_up(self, max_length: int) -> None:
        """Classify once at every length that will be met, so that the first caller waits for nothing.

        On a GPU each length fills the token budget: memory is reserved, and found wanting, now.
        """
        length = min(max_length, self.token_budget)
        while length > 0:
            texts = self.token_budget // length if self.device.type == "cuda" else 1
            encoding = Encoding([self._pad_token_id] * length, [0] * length, truncated=False)
            self([encoding] * max(1, texts))
            length //= 2


def _too_late(time_limit: float) -> RequestError:
    return RequestError(
        "overloaded",
        f"the text was not reached within {time_limit:.0f} s of computing; send fewer or "
        "shorter texts at once, or try again",
    )


def _too_large() -> RequestError:
    return RequestError(
        "overloaded", "there is not enough GPU memory for a text of this length; shorten it"
    )


def _pad(rows: list[list[int]], longest: int, padding: int) -> torch.Tensor:
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])

"""Micro-batches of token ids become logits."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from functools import partial
from itertools import groupby

import torch
from transformers import PreTrainedModel

from ..errors import LoadError, RequestError
from ..metrics import Metrics
from ..values import Encoding
from .attention import choose_attention
from .batching import micro_batches
from .devices import keep_sums_in_order, on
from .encoders import knows_distances, sees_windows
from .fused_encoder import FusedEncoder
from .kernels import Kernels, kernels
from .loading import inputs_of, replace_in_encoder
from .model_inputs import embedding_sizes, inputs_to_device
from .modules import Replacement, batch_invariant, batch_invariant_on_gpu, faster
from .packing import PackedModel
from .random_texts import RandomTexts
from .state import State
from .trial import Forward, Trial

# tokens of a micro-batch: few enough for a CPU's caches, enough to fill a GPU; the first unless measured
TOKEN_BUDGETS = {"cpu": (2_048, 512, 1_024, 4_096, 8_192), "cuda": (32_768, 16_384, 65_536)}
_ROUNDS, _SECONDS = 3, 2.0  # of trying them
_WORTH_IT = 1.03  # a larger budget makes others wait longer

logger = logging.getLogger(__name__)


class Classifier:
    """A sequence classification model on its device, made as fast as it stays right.

    `token_budget` is the size of a micro-batch in tokens, padding included. `forward` is `packed` where
    the model was found to give the same without padding, else `padded`, or `unpadded` where padding
    changes what it gives, so that only texts of one length share a micro-batch, or `alone` where none
    can; `attention` names what computes it. `ways` are all that were tried, each "taken" or why it is
    not. `out_of_memory` counts the times that the budget was halved.

    gives_token_types   whether the tokenizer does; zeros are not the same as none
    texts               random ones that look like the tokenizer's
    """

    def __init__(
        self,
        model: PreTrainedModel,
        device: torch.device,
        pad_token_id: int,
        token_budget: int | None = None,
        metrics: Metrics | None = None,
        gives_token_types: bool = True,
        texts: RandomTexts | None = None,
    ) -> None:
        self.device = device
        self.architecture = type(model).__name__
        self.token_budget = token_budget or TOKEN_BUDGETS[device.type][0]
        self.forward = "padded"
        self.attention = str(model.config._attn_implementation)
        self.ways: dict[str, str] = {}
        self.out_of_memory = 0
        self._metrics = metrics or Metrics()
        self._one_at_a_time = threading.Lock()  # the packed model holds what it is at
        self._packed: Forward | None = None
        self._model = model.to(device).eval()
        self._dtype = model.base_model.dtype  # the head may be more exact
        self._pad_token_id = pad_token_id
        self._sizes = embedding_sizes(model)
        self._inputs = inputs_of(model, gives_token_types)
        self._texts = texts or RandomTexts(range(model.config.vocab_size))
        self._state = State(model)
        self._changes_itself = False
        self._tried: float = math.inf  # tokens of the longest text that was tried

    @torch.inference_mode()
    def __call__(
        self, encodings: Sequence[Encoding], time_limit: float = math.inf
    ) -> tuple[torch.Tensor, list[RequestError | None]]:
        """Logits [texts, labels] in order, float32 on the CPU; and what went wrong with each text.

        Short texts come first, and no further micro-batch is begun after `time_limit` seconds, so that
        few long texts cannot keep many short ones waiting.
        """
        with self._one_at_a_time, on(self.device):
            return self._classify(encodings, time_limit)

    def _classify(
        self, encodings: Sequence[Encoding], time_limit: float
    ) -> tuple[torch.Tensor, list[RequestError | None]]:
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
        if self.forward == "alone":
            batches = [[number] for batch in batches for number in batch]
        elif self.forward == "unpadded" or max(lengths, default=0) > self._tried:
            # what lengths do to each other was not tried for the longest
            batches = [
                list(run) for batch in batches for _, run in groupby(batch, lengths.__getitem__)
            ]
        return [[indices[number] for number in batch] for batch in batches]

    def _halve_budget(self, tried: int) -> None:
        """Keep to smaller micro-batches from now on; `tried` tokens were too many."""
        torch.cuda.empty_cache()
        self.token_budget = max(1, min(self.token_budget, tried) // 2)
        self.out_of_memory += 1
        self._metrics.add("out_of_memory_total")
        logger.warning("out of GPU memory: micro-batches of %d tokens now", self.token_budget)

    def _forward(self, encodings: Sequence[Encoding]) -> torch.Tensor:
        """Logits of one micro-batch, on the device."""
        try:
            return self._packed(encodings) if self._packed else self._padded(encodings)
        finally:
            if self._changes_itself or max(len(e.input_ids) for e in encodings) > self._tried:
                self._state.restore()

    def _padded(self, encodings: Sequence[Encoding]) -> torch.Tensor:
        """Logits of one micro-batch, padded to its longest text."""
        lengths = [len(encoding.input_ids) for encoding in encodings]
        longest = max(lengths)
        self._metrics.add("padding_tokens_total", longest * len(lengths) - sum(lengths))
        inputs = {
            "input_ids": _pad([e.input_ids for e in encodings], longest, self._pad_token_id),
            "attention_mask": _pad([[1] * len(e.input_ids) for e in encodings], longest, 0),
            "token_type_ids": _pad([e.token_type_ids for e in encodings], longest, 0),
        }
        inputs = {name: inputs[name] for name in self._inputs}
        inputs = inputs_to_device(inputs, self.device, self._sizes)
        logits: torch.Tensor = self._model(**inputs).logits
        return logits

    @torch.inference_mode()
    def speed_up(self, max_length: int) -> None:
        """Use faster modules and no padding, each where random texts then get the same."""
        with on(self.device):
            self._speed_up(max_length)

    def _speed_up(self, max_length: int) -> None:
        try:
            trial = Trial(self._model, self._padded, self._texts, max_length)
        except (MemoryError, torch.AcceleratorError):
            raise
        except Exception as error:  # it may need more than a text, or a setting that it lacks
            raise LoadError(
                f"{self.architecture} fails on a text alone ({type(error).__name__}: {error}); see "
                "whether transformers' text-classification pipeline runs the folder"
            ) from error
        dtype, on_cpu = self._dtype, self.device.type == "cpu"
        library = kernels() if on_cpu and dtype == torch.bfloat16 else None
        if on_cpu and dtype in (torch.float32, torch.bfloat16):
            replaced = partial(replace_in_encoder, self._model, partial(faster, kernels=library))
            reason = trial.differs(replaced, self._padded, alone=True)
            if self._taken("modules", reason, "keeps its own modules"):
                head = partial(Replacement, self._model, batch_invariant)
                reason = trial.differs(head, self._padded, alone=True)
                self._taken("head", reason, "keeps its own head")
        if not on_cpu:
            keep_sums_in_order()
            whole = partial(Replacement, self._model, batch_invariant_on_gpu)
            reason = trial.differs(whole, self._padded, alone=True)
            self._taken("products", reason, "keeps its own products")
        packed = self._pack(trial)
        if not packed:
            self._separate(trial)
        elif library:
            self._fuse(trial, packed, library)
        elif not on_cpu:
            from .gpu import speed_up  # which nobody else needs

            self._packed = speed_up(trial, packed, max_length, self._taken)
        self._tried, self._changes_itself = trial.longest, trial.changes_itself
        self._state = State(self._model)

    def _taken(self, way: str, reason: str, instead: str, level: int = logging.INFO) -> bool:
        """Keep whether a way is taken, "" being the reason then; the log says what is done instead."""
        self.ways[way] = reason or "taken"
        if reason:
            logger.log(level, "%s %s: %s", self.architecture, instead, reason)
        return not reason

    def _fuse(self, trial: Trial, packed: PackedModel, library: Kernels) -> None:
        """Have the encoder computed in one call, if it can be."""
        made: list[FusedEncoder] = []

        def change() -> FusedEncoder:
            made.append(FusedEncoder(packed, library))
            return made[0]

        if self._taken("encoder", trial.differs(change, packed), "keeps its own encoder"):
            made[0].stay()
            self.attention, packed.rounds_up = f"encoder {library.name}", False

    def _separate(self, trial: Trial) -> None:
        """Keep texts apart that cannot share a micro-batch; LoadError where even alone they differ."""

        def by_length(encodings: Sequence[Encoding]) -> torch.Tensor:
            runs = groupby(encodings, lambda encoding: len(encoding.input_ids))
            return torch.cat([self._padded(list(run)) for _, run in runs])

        def alone(encodings: Sequence[Encoding]) -> torch.Tensor:
            return torch.cat([self._padded([encoding]) for encoding in encodings])

        warn = partial(self._taken, level=logging.WARNING)
        if warn("padded", trial.differs(None, self._padded), "cannot stand padding"):
            return
        self.forward = "unpadded"
        if not warn("unpadded", trial.differs(None, by_length), "reads one text at a time"):
            self.forward = "alone"
            if reason := trial.differs(None, alone):
                raise LoadError(
                    f"{self.architecture} gives a text another answer each time ({reason}), so it "
                    "cannot be served; see whether config.json has a seed or a setting that keeps "
                    "it from drawing random numbers"
                )

    def _pack(self, trial: Trial) -> PackedModel | None:
        """Use no padding, if the model can do without."""
        name, attend = choose_attention(self.device, self._dtype)
        made: list[PackedModel] = []
        base, on_gpu = self._model.base_model, self.device.type != "cpu"
        by_triton = on_gpu and (
            knows_distances(base) or (name == "efficient" and sees_windows(base))
        )
        if by_triton:
            from .gpu import attend_by_triton

            name = "Triton"

        def change() -> PackedModel:
            takes_token_types = "token_type_ids" in self._inputs
            chosen = attend_by_triton() if by_triton else attend
            made.append(PackedModel(self._model, chosen, takes_token_types))
            return made[0]

        def forward(encodings: Sequence[Encoding]) -> torch.Tensor:
            return made[0].checked(encodings)

        if not self._taken("packed", trial.differs(change, forward), "is served with padding"):
            return None
        self._packed, self.forward, self.attention = made[0], "packed", name
        return made[0]

    def choose_token_budget(self, max_length: int) -> None:
        """Take the budget at which texts of mixed lengths are classified fastest here."""
        budgets = TOKEN_BUDGETS[self.device.type]
        generator = torch.Generator().manual_seed(0)
        texts: list[Encoding] = []
        while sum(len(text.input_ids) for text in texts) < max(budgets):
            length = int(torch.empty(1).log_normal_(4.0, 0.6, generator=generator).item()) + 3
            texts.append(self._texts(min(length, max_length), generator))
        seconds: dict[int, float] = {}
        end = time.monotonic() + _SECONDS
        for self.token_budget in budgets * _ROUNDS:
            start = time.monotonic()
            self(texts)
            taken = time.monotonic() - start
            seconds[self.token_budget] = min(seconds.get(self.token_budget, math.inf), taken)
            if time.monotonic() > end:  # a slow machine tries the first ones alone
                break
        fastest = min(seconds.values())
        self.token_budget = min(b for b, taken in seconds.items() if taken <= fastest * _WORTH_IT)

    def warm_up(self, max_length: int) -> None:
        """Classify once at every length that will be met, so that the first caller waits for nothing.

        On a GPU each length fills the token budget: memory is reserved, and found wanting, now.
        """
        length = min(max_length, self.token_budget)
        generator = torch.Generator().manual_seed(0)
        while length > 0:
            texts = self.token_budget // length if self.device.type == "cuda" else 1
            self([self._texts(length, generator)] * max(1, texts))
            length = length // 2 if length > self._texts.shortest else 0


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

"""Micro-batches of token ids become logits."""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from .batching import micro_batches
from .errors import LoadError
from .packed import PackedModel, pack, padding_index
from .values import Encoding

# tokens of a micro-batch: few enough for a CPU's caches, enough to fill a GPU
TOKEN_BUDGET = {"cpu": 2_048, "cuda": 32_768}
_LONGEST_TRIED = 1_024

logger = logging.getLogger(__name__)


class Classifier:
    """A sequence classification model on its device.

    `token_budget` is the size of a micro-batch in tokens, padding included. `forward` is `packed` where
    the model was found to give the same without padding, else `padded`.
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
        self.token_budget = token_budget or TOKEN_BUDGET[device.type]
        self.forward = "padded"
        self._packed: PackedModel | None = None
        self._model = model.to(device).eval()
        self._pad_token_id = pad_token_id
        self._takes_token_types = "token_type_ids" in inspect.signature(model.forward).parameters

    @torch.inference_mode()
    def __call__(
        self, encodings: Sequence[Encoding], time_limit: float = math.inf
    ) -> tuple[torch.Tensor, list[bool]]:
        """Logits of the texts, in order: float32 on the CPU, [texts, labels]; and which were reached.

        Short texts come first, and no further micro-batch is begun after `time_limit` seconds, so that
        few long texts cannot keep many short ones waiting.
        """
        last = time.monotonic() + time_limit
        lengths = [len(encoding.input_ids) for encoding in encodings]
        logits = torch.zeros(len(encodings), self._model.config.num_labels)
        reached = [False] * len(encodings)
        for number, indices in enumerate(micro_batches(lengths, self.token_budget)):
            if number > 0 and time.monotonic() > last:
                break
            logits[indices] = self._forward([encodings[index] for index in indices])
            for index in indices:
                reached[index] = True
        return logits, reached

    @torch.inference_mode()
    def choose_forward(self, max_length: int) -> None:
        """Do without padding if random texts, the longest among them, get the same logits so."""
        if self.device.type != "cpu":
            return
        generator = torch.Generator().manual_seed(0)
        texts = [
            self._random_text(min(length, max_length), generator)
            for length in (min(max_length, _LONGEST_TRIED), 30, 12, 7, 7, 3)
        ]
        expected = torch.cat([self._padded([text]) for text in texts])
        self._packed, reason = pack(self._model, texts, expected)
        if self._packed:
            self.forward = "packed"
        else:
            logger.info("%s is served with padding: %s", self.architecture, reason)

    def _random_text(self, length: int, generator: torch.Generator) -> Encoding:
        ids = torch.randint(self._model.config.vocab_size, (length,), generator=generator).tolist()
        return Encoding(ids, [0] * length, truncated=False)

    def _forward(self, encodings: list[Encoding]) -> torch.Tensor:
        """Logits of one micro-batch."""
        return self._packed(encodings).float() if self._packed else self._padded(encodings)

    def _padded(self, encodings: list[Encoding]) -> torch.Tensor:
        """Logits of one micro-batch, padded to its longest text."""
        longest = max(len(encoding.input_ids) for encoding in encodings)
        inputs = {
            "input_ids": _pad([e.input_ids for e in encodings], longest, self._pad_token_id),
            "attention_mask": _pad([[1] * len(e.input_ids) for e in encodings], longest, 0),
        }
        if self._takes_token_types:
            inputs["token_type_ids"] = _pad([e.token_type_ids for e in encodings], longest, 0)
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        logits: torch.Tensor = self._model(**inputs).logits
        return logits.float().cpu()

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


def _pad(rows: list[list[int]], longest: int, padding: int) -> torch.Tensor:
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])


def load_model(model_dir: Path, precision: str) -> PreTrainedModel:
    """The folder's classifier in `precision`, from safetensors alone; LoadError says what is wrong."""
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            model_dir,
            dtype=getattr(torch, precision),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many types for a broken folder
        raise LoadError(f"the model cannot be loaded: {error}") from error
    refuse_missing_weights(model, report)
    return model


def refuse_missing_weights(model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """LoadError where transformers' loading report names weights that the folder lacks.

    transformers fills them with random numbers, and the model would answer random probabilities.
    """
    if missing := sorted(report["missing_keys"]):
        raise LoadError(
            f"the weights lack {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}: this is "
            f"no fine-tuned {type(model).__name__}; fine-tune it, or name the right architecture in "
            "config.json"
        )


def longest_input(model: PreTrainedModel, tokenizer_max_length: int) -> int:
    """Longest input in tokens that the model's positions and its tokenizer allow."""
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer_max_length
    if (index := padding_index(model)) is not None:
        positions -= index + 1
    return int(min(positions, tokenizer_max_length))

"""The rooms between reading a request and answering it, for one loaded model.

Online serving and offline scoring both call this, so that both give the same numbers.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from .engine import (
    Classifier,
    RandomTexts,
    check_vocabulary,
    choose_precision,
    load_model,
    longest_input,
    use_threads,
)
from .errors import LoadError, RequestError, past_errors
from .explanations import Explainer
from .metrics import Metrics
from .probabilities import (
    Calibration,
    Decisions,
    Outputs,
    choose_activation,
    name_labels,
    outputs,
    predictions,
    problem_type,
    read_calibration,
)
from .settings import Settings
from .text import Tokenizer, aggregate, all_chunks, load_tokenizer
from .values import Encoding, Prediction, Text

logger = logging.getLogger(__name__)

_UNLIMITED = 1_000_000  # tokens: a number above it is none that anybody chose


class Pipeline:
    """A loaded model that turns Texts into Predictions.

    `workers` is how many workers share the CPU with this one. After `time_limit` seconds of computing the
    texts that are left get an error, for somebody may be waiting.
    """

    def __init__(
        self,
        model_dir: Path,
        settings: Settings,
        device: torch.device,
        workers: int = 1,
        time_limit: float = math.inf,
    ) -> None:
        transformers.utils.logging.disable_progress_bar()
        self.settings = settings
        self.metrics = Metrics()
        self.time_limit = time_limit
        self.threads = use_threads(settings.threads, workers) if device.type == "cpu" else None
        self.precision = choose_precision(settings.precision, device)
        model = load_model(model_dir, self.precision)
        tokenizer = load_tokenizer(model_dir)
        check_vocabulary(model, tokenizer.get_vocab())
        self.max_length = _max_length(longest_input(model, tokenizer.model_max_length), settings)
        self.config = model.config
        self.labels = _read_labels(model_dir, model.config)
        self.problem_type = problem_type(model.config.problem_type, len(self.labels))
        self.activation = choose_activation(self.problem_type, len(self.labels))
        found = read_calibration(model_dir)
        self.calibration = Calibration(found, len(self.labels), self.activation) if found else None
        self.decisions = Decisions(self.labels, self.activation, found)
        self.found = found or {"method": "none"}
        self.tokenizer = Tokenizer(
            tokenizer, self.max_length, settings.long_text, settings.stride, settings.pairs
        )
        self.classifier = Classifier(
            model,
            device,
            self.tokenizer.pad_token_id,
            settings.token_budget,
            self.metrics,
            self.tokenizer.gives_token_types,
            RandomTexts.of(tokenizer),
        )
        self.classifier.speed_up(self.max_length)
        self.classifier.warm_up(self.max_length)
        if settings.token_budget is None:
            self.classifier.choose_token_budget(self.max_length)
        self.explainer = Explainer(model_dir, self.labels, device, self.tokenizer, time_limit)
        self.metrics.begin(self.labels)

    def __call__(self, texts: Iterable[Text | RequestError]) -> list[Prediction | RequestError]:
        """Predict the texts, in order; an error keeps the place of the text it belongs to.

        Those that ask for it are explained, once all are predicted.
        """
        texts = list(texts)
        outcomes = past_errors(self._predict, texts)
        return [self._explain(*each) for each in zip(texts, outcomes, strict=True)]

    def _predict(self, texts: list[Text]) -> list[Prediction | RequestError]:
        """Predict texts together; if that fails, each alone, so that one cannot fail the others."""
        try:
            with self.metrics.time("tokenize"):
                encodings = self.tokenizer(texts)
            return past_errors(self._classify, encodings)
        except (MemoryError, torch.AcceleratorError):  # no text's fault: for TorchServe to see
            raise
        except Exception as error:
            if len(texts) > 1:
                return [result for text in texts for result in self._predict([text])]
            logger.error("a text could not be classified: %s", type(error).__name__)
            return [
                RequestError("internal_error", "the model failed on this text; please report it")
            ]

    def _classify(self, encodings: list[Encoding]) -> list[Prediction | RequestError]:
        found, problems = self.outputs(encodings)
        with self.metrics.time("probabilities"):
            results = predictions(found, encodings, self.labels)
        return [problem or result for problem, result in zip(problems, results, strict=True)]

    def outputs(self, encodings: list[Encoding]) -> tuple[Outputs, list[RequestError | None]]:
        """What the model says of texts that are encoded, as tensors, and what went wrong with each."""
        with self.metrics.time("forward"):
            logits, problems = self.classifier(all_chunks(encodings), self.time_limit)
        with self.metrics.time("probabilities"):
            logits, problems = aggregate(logits, problems, encodings, self.settings.aggregation)
            found = outputs(
                logits, encodings, self.labels, self.activation, self.calibration, self.decisions
            )
        return found, [a or b for a, b in zip(problems, found.problems, strict=True)]

    def _explain(
        self, text: Text | RequestError, outcome: Prediction | RequestError
    ) -> Prediction | RequestError:
        """The prediction with its explanation, where that was asked for."""
        if isinstance(text, RequestError) or isinstance(outcome, RequestError) or not text.explain:
            return outcome
        with self.metrics.time("explain"):
            found = self.explainer(text, outcome)
        return found if isinstance(found, RequestError) else replace(outcome, explanation=found)

    def describe(self) -> dict[str, Any]:
        """What is loaded, for `describe` and for people."""
        return {
            "architecture": self.classifier.architecture,
            "labels": self.labels,
            "problem_type": self.problem_type,
            "activation": self.activation,
            "pairs": self.settings.pairs,
            "max_length": self.max_length,
            "max_texts": self.settings.max_texts,
            "precision": self.precision,
            "forward": self.classifier.forward,
            "attention": self.classifier.attention,
            "ways": self.classifier.ways,
            "device": str(self.classifier.device),
            "threads": self.threads,
            "token_budget": self.classifier.token_budget,
            "out_of_memory": self.classifier.out_of_memory,
            "long_text": self.settings.long_text,
            "aggregation": self.settings.aggregation,
            "calibration": self.found,
        }


def _read_labels(model_dir: Path, config: transformers.PretrainedConfig) -> list[str]:
    path = model_dir / "index_to_name.json"
    index_to_name = json.loads(path.read_bytes()) if path.exists() else None
    return name_labels(config.num_labels, config.id2label, index_to_name)


def _max_length(longest: int, settings: Settings) -> int:
    """The archive's longest input, checked against what the model can read."""
    if settings.max_length is None and longest > _UNLIMITED:
        raise LoadError(
            "neither config.json nor the tokenizer says how long an input may be; "
            "give it with `bertserve package --max-length`"
        )
    if settings.max_length is not None and settings.max_length > longest:
        raise LoadError(
            f"model-config.yaml: handler.max_length is {settings.max_length}; "
            f"this model reads at most {longest} tokens"
        )
    return settings.max_length or longest

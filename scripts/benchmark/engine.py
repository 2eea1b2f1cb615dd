"""The classifier alone, against the rate of matrix products that this machine reaches.

    python -m benchmark.engine MODEL_DIR PRECISION JOBS.json

PRECISION is bertserve's, or `transformers`: its own forward in float32, padded, as people call it.

Prints one JSON object. JOBS.json is a list of {"workload", "texts", "repeats"}: the texts of one call,
and how often to call. The rates are measured between the calls: other work on the machine slows both.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from bertserve.archives.kernels import build as build_kernels
from bertserve.handler.engine.kernels import FOLDER
from bertserve.handler.errors import RequestError
from bertserve.handler.pipeline import Pipeline
from bertserve.handler.settings import Settings
from bertserve.handler.values import Encoding, Text

RATES = ("float32", "bfloat16", "int8")
TRANSFORMERS = "transformers"
_BATCH = 32  # texts of one padded call
_TOKENS = 2_048  # rows of the matrices, as many as a micro-batch of the engine has
_LARGER = ((1_024, 1_024), (2_048, 2_048))
_RATE_SECONDS = 0.05  # for each shape


def main() -> None:
    model_dir, precision, jobs = sys.argv[1:]
    build_kernels(FOLDER)  # what an archive brings along
    print(json.dumps(measure(Path(model_dir), precision, json.loads(Path(jobs).read_bytes()))))


def measure(model_dir: Path, precision: str, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Texts and floating point operations in a second of each job, and the rates around them."""
    ours = precision != TRANSFORMERS
    settings = Settings(precision=precision if ours else "float32")
    pipeline = Pipeline(model_dir, settings, torch.device("cpu"))
    computes_in = pipeline.describe()["precision"]
    forward = pipeline.classifier if ours else _Padded(model_dir)
    return {
        "precision": precision,
        "computes_in": computes_in,
        "threads": torch.get_num_threads(),
        "calls": [_measure_job(pipeline, forward, computes_in, **job) for job in jobs],
    }


class _Padded:
    """transformers' forward, eager, of batches as they come, padded."""

    def __init__(self, model_dir: Path) -> None:
        self._model = AutoModelForSequenceClassification.from_pretrained(
            model_dir, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    def __call__(self, encodings: Sequence[Encoding]) -> tuple[torch.Tensor, object]:
        batches = range(0, len(encodings), _BATCH)
        return torch.cat([self._logits(encodings[start:][:_BATCH]) for start in batches]), None

    def _logits(self, encodings: Sequence[Encoding]) -> torch.Tensor:
        rows = [torch.tensor(encoding.input_ids) for encoding in encodings]
        ids = pad_sequence(rows, batch_first=True)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        logits: torch.Tensor = self._model(input_ids=ids, attention_mask=mask).logits
        return logits


@torch.inference_mode()
def _measure_job(
    pipeline: Pipeline,
    forward: Callable[[Sequence[Encoding]], tuple[torch.Tensor, object]],
    precision: str,
    workload: str,
    texts: Sequence[str],
    repeats: int,
) -> dict[str, Any]:
    encodings = [
        encoding
        for encoding in pipeline.tokenizer([Text(text) for text in texts])
        if not isinstance(encoding, RequestError)
    ]
    lengths = [len(encoding.input_ids) for encoding in encodings]
    operations = count_operations(pipeline.config, lengths)
    labels = forward(encodings)[0].argmax(dim=1).tolist()
    seconds, rates = [], [matrix_rates(pipeline.config)]
    for _ in range(repeats):
        start = time.perf_counter()
        forward(encodings)
        seconds.append(time.perf_counter() - start)
        rates.append(matrix_rates(pipeline.config))
    shares = [
        operations / took / max(_rate(before, precision), _rate(after, precision))
        for took, before, after in zip(seconds, rates, rates[1:], strict=False)
    ]
    typical = statistics.median(seconds)
    return {
        "workload": workload,
        "texts": len(texts),
        "tokens": sum(lengths),
        "seconds": seconds,
        "texts_per_second": len(texts) / typical,
        "operations_per_second": operations / typical,
        "rates": rates,
        "share": statistics.median(shares),
        "labels": labels,
    }


def _rate(rates: dict[str, float], precision: str) -> float:
    """The rate to compare with; the best one where it is not known what is computed in."""
    return rates.get(precision) or max(rates.values())


def count_operations(config: PretrainedConfig, lengths: Sequence[int]) -> float:
    """Multiplications and additions that a model needs for texts of so many tokens, without padding.

    Linear layers, attention, the pooler and the classifier; the rest is small beside them. ModernBERT's
    windows count as if they were the whole of these short texts.
    """
    hidden, between = config.hidden_size, config.intermediate_size
    wide = 3 if config.model_type == "modernbert" else 2  # a gate beside what it gates
    token = 2 * (4 * hidden**2 + wide * hidden * between)
    attention = 4 * hidden * sum(length**2 for length in lengths)
    head = 2 * hidden * (hidden + config.num_labels) * len(lengths)
    return float(config.num_hidden_layers * (token * sum(lengths) + attention) + head)


def matrix_rates(config: PretrainedConfig) -> dict[str, float]:
    """Operations in a second of matrix products, by precision: the best of the model's shapes and larger.

    Of these rates an engine could reach at most all, if it did nothing else.
    """
    hidden, between = config.hidden_size, config.intermediate_size
    shapes = ((hidden, hidden), (hidden, between), (between, hidden), *_LARGER)
    return {name: max(_matrix_rate(name, *shape) for shape in shapes) for name in RATES}


def _matrix_rate(precision: str, inputs: int, outputs: int) -> float:
    product = _product(precision, inputs, outputs)
    product()
    count, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < _RATE_SECONDS:
        product()
        count += 1
    return 2 * _TOKENS * inputs * outputs * count / took


def _product(precision: str, inputs: int, outputs: int) -> Callable[[], object]:
    if precision == "int8":
        left = torch.randint(-128, 128, (_TOKENS, inputs), dtype=torch.int8)
        right = torch.randint(-128, 128, (outputs, inputs), dtype=torch.int8).t()
        return lambda: torch._int_mm(left, right)
    dtype = getattr(torch, precision)
    rows, weight = torch.randn(_TOKENS, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    return lambda: torch.nn.functional.linear(rows, weight)


if __name__ == "__main__":
    main()

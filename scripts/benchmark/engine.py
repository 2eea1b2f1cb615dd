"""The classifier alone, against the rate of matrix products that this machine reaches.

    python -m benchmark.engine MODEL_DIR PRECISION JOBS.json

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
from transformers import PretrainedConfig

from bertserve.archives.kernels import build as build_kernels
from bertserve.handler.engine.kernels import FOLDER
from bertserve.handler.errors import RequestError
from bertserve.handler.pipeline import Pipeline
from bertserve.handler.settings import Settings
from bertserve.handler.values import Text

RATES = ("float32", "bfloat16", "int8")
_TOKENS = 2_048  # rows of the matrices, as many as a micro-batch of the engine has
_LARGER = ((1_024, 1_024), (2_048, 2_048))
_RATE_SECONDS = 0.05  # for each shape


def main() -> None:
    model_dir, precision, jobs = sys.argv[1:]
    build_kernels(FOLDER)  # what an archive brings along
    print(json.dumps(measure(Path(model_dir), precision, json.loads(Path(jobs).read_bytes()))))


def measure(model_dir: Path, precision: str, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Texts and floating point operations in a second of each job, and the rates around them."""
    pipeline = Pipeline(model_dir, Settings(precision=precision), torch.device("cpu"))
    computes_in = pipeline.describe()["precision"]
    return {
        "precision": precision,
        "computes_in": computes_in,
        "threads": torch.get_num_threads(),
        "calls": [_measure_job(pipeline, computes_in, **job) for job in jobs],
    }


@torch.inference_mode()
def _measure_job(
    pipeline: Pipeline, precision: str, workload: str, texts: Sequence[str], repeats: int
) -> dict[str, Any]:
    encodings = [
        encoding
        for encoding in pipeline.tokenizer([Text(text) for text in texts])
        if not isinstance(encoding, RequestError)
    ]
    lengths = [len(encoding.input_ids) for encoding in encodings]
    operations = count_operations(pipeline.config, lengths)
    pipeline.classifier(encodings)
    seconds, rates = [], [matrix_rates(pipeline.config)]
    for _ in range(repeats):
        start = time.perf_counter()
        pipeline.classifier(encodings)
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
    }


def _rate(rates: dict[str, float], precision: str) -> float:
    """The rate to compare with; the best one where it is not known what is computed in."""
    return rates.get(precision) or max(rates.values())


def count_operations(config: PretrainedConfig, lengths: Sequence[int]) -> float:
    """Multiplications and additions that BERT needs for texts of so many tokens, without padding.

    Linear layers, attention, the pooler and the classifier; the rest is small beside them.
    """
    hidden, between = config.hidden_size, config.intermediate_size
    token = 2 * (4 * hidden**2 + 2 * hidden * between)
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

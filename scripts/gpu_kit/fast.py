"""The engine alone, against padding, torch.compile and the rate of matrix products.

Rates are medians; operations are those of linear layers and attention on real tokens, so padding counts
for nothing.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from transformers import BertConfig

import tiny
from handler.engine import Classifier
from handler.engine.gpu.graphs import Graphs
from handler.text import Tokenizer
from handler.values import Encoding, Text

from . import models
from .checks import Check, Checks, Figures, Found

_REPEATS = {"cuda": 7, "cpu": 1}
_TOKENS = {"cuda": 131_072, "cpu": 1_024}  # of one call
_ALONE = (1, 2, 4, 8, 16)  # texts whose latency is measured
_SHORT = 16  # tokens of each
_LATENCIES = {"cuda": 100, "cpu": 5}


def checks(device: torch.device) -> Checks:
    sizes = ("base", "large") if device.type == "cuda" else ("tiny",)
    for size in sizes:
        engines = Engines(size, device)
        yield Check(f"BERT-{size}: the ways that are taken", partial(ways, engines))
        yield Check(f"BERT-{size}: a few short texts", partial(latency, engines))
        for name, lengths in workloads(_TOKENS[device.type]).items():
            yield Check(f"BERT-{size}: {name}", partial(throughput, engines, lengths))
        yield Check(f"BERT-{size}: the tokenizer's share", partial(tokenizer_share, engines))
    for size in sizes:
        engines = Engines(size, device)
        work = workloads(_TOKENS[device.type])
        if device.type == "cpu":
            del work["384 tokens"], work["mixed"]
        yield Check(f"BERT-{size}: torch.compile", partial(compiled, engines, work))


class Engines:
    """One model in the ways that are compared, made when they are first asked for."""

    def __init__(self, size: str, device: torch.device) -> None:
        self.size = size
        self.device = device
        self.config: BertConfig = models.bert_config(size)
        self._made: dict[str, Classifier] = {}

    def __getitem__(self, way: str) -> Classifier:
        if way not in self._made:
            self._made[way] = self._make(way)
        return self._made[way]

    def _make(self, way: str) -> Classifier:
        on_gpu = self.device.type == "cuda"
        model = models.bert(self.size, torch.bfloat16 if on_gpu else torch.float32)
        if way == "compiled":
            # a CPU may have no compiler
            model.compile(dynamic=True, backend="inductor" if on_gpu else "aot_eager")
        classifier = Classifier(model, self.device, pad_token_id=0)
        if way in ("packed", "launched"):
            classifier.speed_up(models.LONGEST)
        if way == "launched" and isinstance(forward := classifier._packed, Graphs):
            classifier._packed = forward.packed
        return classifier


def workloads(tokens: int) -> dict[str, list[int]]:
    """Lengths of texts that hold about so many tokens together."""
    generator = torch.Generator().manual_seed(0)
    mixed: list[int] = []
    while sum(mixed) < tokens:
        length = int(torch.empty(1).log_normal_(4.0, 0.7, generator=generator).item())
        mixed.append(min(512, max(4, length)))
    return {
        "128 tokens": [128] * (tokens // 128),
        "384 tokens": [384] * max(1, tokens // 384),
        "mixed": mixed,
    }


def throughput(engines: Engines, lengths: list[int]) -> Found:
    """Packed against padded, in turns."""
    found = in_turns(engines, lengths, ("packed", "padded"))
    packed, padded = found["packed"], found["padded"]
    gain = packed["texts_per_second"] / padded["texts_per_second"]
    return Found(
        f"{engines['packed'].forward} {packed['texts_per_second']:,.0f} texts/s, "
        f"{packed['share']:.0%} of the matrix rate, {gain:.2f} × padded",
        found,
    )


def compiled(engines: Engines, work: dict[str, list[int]]) -> Found:
    """Padded texts in a model that torch.compile made, dynamic shapes; it takes long to begin."""
    start = time.monotonic()
    figures: Figures = {}
    for name, lengths in work.items():
        figures[name] = in_turns(engines, lengths, ("compiled", "packed"))
    rates = (
        f"{name} {found['compiled']['texts_per_second']:,.0f} (packed "
        f"{found['packed']['texts_per_second']:,.0f})"
        for name, found in figures.items()
    )
    return Found(
        f"texts/s: {', '.join(rates)}; {time.monotonic() - start:.0f} s with compiling", figures
    )


def in_turns(engines: Engines, lengths: list[int], ways: Sequence[str]) -> Figures:
    """Each way to compute these texts, in turns; `share` is of the matrix rate measured around it."""
    texts = models.texts(lengths)
    operations = count_operations(engines.config, lengths)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    rates: list[float] = []
    for turn in range(_REPEATS[engines.device.type] + 1):
        rates.append(matrix_rate(engines.config, engines.device))
        for way in ways:
            taken = timed(partial(engines[way], texts))
            if turn:  # the first one compiles and warms up
                seconds[way].append(taken)
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    return {
        way: {
            "texts_per_second": len(lengths) / median,
            "tokens_per_second": sum(lengths) / median,
            "operations_per_second": operations / median,
            "share": operations / median / max(rates),
            "matrix_rate": max(rates),
            "token_budget": engines[way].token_budget,
        }
        for way, median in medians.items()
    }


def ways(engines: Engines) -> Found:
    """Which ways are taken and why others are not, how long it takes to find out, and memory."""
    start = time.monotonic()
    classifier = engines["packed"]
    seconds = time.monotonic() - start
    on_gpu = engines.device.type == "cuda"
    memory = torch.cuda.memory_reserved(engines.device) if on_gpu else 0
    shown = ", ".join(f"{way}: {found}" for way, found in classifier.ways.items())
    return Found(
        f"{shown}; {classifier.attention}, {seconds:.1f} s to load, {memory / 2**20:,.0f} MiB",
        {"ways": classifier.ways, "seconds": seconds, "memory_bytes": memory},
    )


def latency(engines: Engines) -> Found:
    """Milliseconds of a few short texts, median, packed; by graphs and launched kernel by kernel."""
    ways = ("packed", "launched") if engines.device.type == "cuda" else ("packed",)
    found: dict[str, dict[int, float]] = {way: {} for way in ways}
    for texts in _ALONE:
        some = models.texts([_SHORT] * texts)
        for way, milliseconds in found.items():
            call = partial(engines[way], some)
            taken = [timed(call) for _ in range(_LATENCIES[engines.device.type])]
            milliseconds[texts] = 1_000 * statistics.median(taken)
    shown = "; ".join(
        f"{way} {', '.join(f'{texts}: {ms:.2f}' for texts, ms in each.items())}"
        for way, each in found.items()
    )
    return Found(f"ms for so many texts of {_SHORT} tokens: {shown}", {"milliseconds": found})


def tokenizer_share(engines: Engines) -> Found:
    """Of the time that a batch of texts takes, from characters to logits; all cores tokenize."""
    tokenizer = Tokenizer(tiny.make_tokenizer("wordpiece", pairs=True), models.LONGEST)
    chance = random.Random(0)
    lengths = workloads(_TOKENS[engines.device.type])["mixed"]
    texts = [Text(" ".join(chance.choices(tiny.WORDS, k=length))) for length in lengths]
    classifier = engines["packed"]
    seconds: dict[str, list[float]] = {"tokenizer": [], "engine": []}
    for _ in range(_REPEATS[engines.device.type] + 1):
        seconds["tokenizer"].append(timed(partial(tokenizer, texts)))
        encodings = [each for each in tokenizer(texts) if isinstance(each, Encoding)]
        seconds["engine"].append(timed(partial(classifier, encodings)))
    medians = {step: statistics.median(taken[1:]) for step, taken in seconds.items()}
    share = medians["tokenizer"] / sum(medians.values())
    rate = len(texts) / medians["tokenizer"]
    return Found(f"{share:.0%}, {rate:,.0f} texts/s", {"share": share, "texts_per_second": rate})


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes whose result lies on the CPU, so that the GPU has finished."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def count_operations(config: BertConfig, lengths: list[int]) -> float:
    """Floating point operations of the encoder on real tokens."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    linear = sum(lengths) * (8 * hidden * hidden + 4 * hidden * inner)
    attention = sum(4 * length * length * hidden for length in lengths)
    return float(layers * (linear + attention))


@torch.inference_mode()
def matrix_rate(config: BertConfig, device: torch.device) -> float:
    """Operations a second of the largest of the model's own products in bfloat16, many rows at a time."""
    rows = 16_384 if device.type == "cuda" else 512
    values = torch.randn(rows, config.hidden_size, dtype=torch.bfloat16, device=device)
    weight = torch.randn(
        config.intermediate_size, config.hidden_size, dtype=torch.bfloat16, device=device
    )
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(10):
            values @ weight.T
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken = time.perf_counter() - start
        best = max(best, 10 * 2 * rows * weight.numel() / taken)
    return best

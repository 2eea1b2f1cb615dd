"""What a worker counts: requests, texts, tokens, seconds and labels.

    metrics.add("truncated_texts_total")
    with metrics.time("forward"):
        …

Counting is cheap, so it is done for each batch. Once a second the sums since the last time are told to
TorchServe, which adds up those of all workers and shows them at its metrics address. It tells metrics
apart by a file, bertserve/serving/config/metrics.yaml, where each has its labels; `model` and `version`
come first.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import torch

from .errors import SERIOUS, RequestError
from .values import Prediction

logger = logging.getLogger(__name__)

STEPS = ("wire", "tokenize", "forward", "probabilities", "explain")
# upper bounds of what confidence and entropy are sorted into
CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
ENTROPY = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_BOUNDS = {"confidence": CONFIDENCE, "entropy": ENTROPY}
_INTERVAL = 1.0  # seconds
_PREFIX = "bertserve_"
# they would end a value in TorchServe's line for a metric, or the line
_BREAKS = str.maketrans(dict.fromkeys(",:|#\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", "_"))

Key = tuple[str, tuple[str, ...]]


class Metrics:
    """Sums by name and labels, and histograms, since they were last taken."""

    def __init__(self) -> None:
        self._sums: defaultdict[Key, float] = defaultdict(float)
        self._histograms: dict[str, list[int]] = {}  # how many values are in each bucket
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1, *labels: str) -> None:
        """Add to a sum; zero makes it known."""
        with self._lock:
            self._sums[name, labels] += value

    def time(self, step: str) -> _Stopwatch:
        """Add the seconds that a block takes."""
        return _Stopwatch(self, step)

    def take(self) -> dict[Key, float]:
        """The sums, which begin at zero again; histograms among them as Prometheus has them."""
        with self._lock:
            taken, self._sums = self._sums, defaultdict(float)
            histograms, self._histograms = self._histograms, {}
        for name, counts in histograms.items():
            bounds = [*map(str, _BOUNDS[name]), "+Inf"]
            for bound, below in zip(bounds, accumulate(counts), strict=True):
                taken[f"{name}_bucket", (bound,)] = below
            taken[f"{name}_count", ()] = sum(counts)
        return taken

    def begin(self, labels: Iterable[str]) -> None:
        """Make known what is counted, so that its first increase is seen as one."""
        self.take()  # what was counted while the model warmed up
        for name in ("requests_total", "texts_total"):
            for code in ("ok", *SERIOUS):
                self.add(name, 0, code)
        self.add("requests_total", 0, "partial")
        for name in ("batches_total", "tokens_total", "padding_tokens_total"):
            self.add(name, 0)
        for name in ("truncated_texts_total", "out_of_memory_total"):
            self.add(name, 0)
        for step in STEPS:
            self.add("step_seconds_total", 0, step)
        for label in labels:
            self.add("labels_total", 0, label)
        self._distribute("confidence", [])
        self._distribute("entropy", [])

    def count(self, codes: Iterable[str], outcomes: Sequence[Prediction | RequestError]) -> None:
        """Count a batch: `codes` say how each request ended, `outcomes` are those of its texts."""
        for code, requests in Counter(codes).items():
            self.add("requests_total", requests, code)
        errors = Counter(o.code for o in outcomes if isinstance(o, RequestError))
        for code, texts in errors.items():
            self.add("texts_total", texts, code)
        predictions = [o for o in outcomes if isinstance(o, Prediction)]
        if not predictions:
            return
        self.add("batches_total")
        self.add("texts_total", len(predictions), "ok")
        self.add("tokens_total", sum(p.tokens for p in predictions))
        self.add("truncated_texts_total", sum(p.truncated for p in predictions))
        for label, texts in Counter(next(iter(p.probabilities)) for p in predictions).items():
            self.add("labels_total", texts, label)
        self._distribute("confidence", [p.confidence for p in predictions])
        self._distribute("entropy", [p.entropy for p in predictions])

    def _distribute(self, name: str, values: Sequence[float]) -> None:
        bounds = _BOUNDS[name]
        with self._lock:
            counts = self._histograms.setdefault(name, [0] * (len(bounds) + 1))
            for value in values:
                counts[bisect_left(bounds, value)] += 1
            self._sums[f"{name}_sum", ()] += sum(values)


class _Stopwatch:
    """What `Metrics.time` gives; a generator's would take as long as some of what is timed."""

    __slots__ = ("_metrics", "_start", "_step")

    def __init__(self, metrics: Metrics, step: str) -> None:
        self._metrics = metrics
        self._step = step

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._metrics.add("step_seconds_total", time.perf_counter() - self._start, self._step)


class Reporter:
    """Tells TorchServe what was counted, from a thread of its own, while the worker lives."""

    def __init__(
        self, metrics: Metrics, cache: Any, model: str, version: str, device: torch.device
    ) -> None:
        """`cache` is the `metrics` of TorchServe's context."""
        self._metrics = metrics
        self._cache = cache
        self._names = (model, version)
        self._device = device

    def start(self) -> None:
        """Begin, unless the server's metrics.yaml does not know our metrics."""
        if not self._knows("requests_total"):
            logger.info("metrics_config names no metrics of bertserve, so none are told")
            return
        self.report()
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def report(self) -> None:
        """Tell the sums since the last time, and how much memory of the GPU is taken."""
        for (name, labels), value in self._metrics.take().items():
            self._tell("counter", name, value, *labels)
        if self._device.type == "cuda":
            reserved = torch.cuda.memory_reserved(self._device)
            self._tell("gauge", "gpu_memory_bytes", reserved, str(self._device))

    def _run(self) -> None:
        while True:
            time.sleep(_INTERVAL)
            try:
                self.report()
            except Exception as error:  # requests do not depend on it
                logger.error("metrics could not be told: %s", type(error).__name__)

    def _tell(self, kind: str, name: str, value: float, *labels: str) -> None:
        metric = self._cache.get_metric(_PREFIX + name, _type(kind))
        # as a plain decimal: TorchServe cannot read 1e+06
        number = f"{value:.9f}".rstrip("0").rstrip(".")
        metric.emit_metrics("", number, self._dimensions(metric.dimension_names, labels))

    def _dimensions(self, names: Sequence[str], labels: tuple[str, ...]) -> str:
        values = (*self._names, *labels)
        pairs = zip(names, values, strict=True)
        return ",".join(f"{name}:{value.translate(_BREAKS) or '_'}" for name, value in pairs)

    def _knows(self, name: str) -> bool:
        try:
            self._cache.get_metric(_PREFIX + name, _type("counter"))
        except Exception:  # TorchServe's own type of error, or no cache
            return False
        return True


def _type(kind: str) -> Any:
    from ts.metrics.metric_type_enum import MetricTypes  # there are workers only where ts is

    return MetricTypes(kind)

"""The last hour of a server's metrics, kept in memory: what its versions did, and how fast.

traffic = Traffic()
traffic.add(Metrics(address))       # again and again
traffic.told()[0].minute.requests   # a second
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from .metrics import Metrics

HOUR, MINUTE = 3600.0, 60.0
# seconds: moments of the last ones are all kept, of earlier ones one in so many
_RECENT, _APART = 130.0, 15.0
_POINTS = 60  # of a curve
_OK = ("ok", "partial")
Key = tuple[str, str]


@dataclass(frozen=True)
class Rates:
    """What happened in `seconds`; None where nothing was counted that a figure is of.

    requests      that were answered, a second
    failed        share of them that ended with an error, by whose fault ever
    codes         how many ended so, of those that did not end well
    latency       milliseconds from arrival to answer, of the model's HTTP requests to any version
    batch         texts in a batch
    confidence    mean of the highest probabilities, and `median` of them, as far as buckets tell
    labels        share of each predicted label
    """

    seconds: float
    requests: float
    failed: float
    codes: dict[str, int]
    latency: float | None
    batch: float | None
    confidence: float | None
    median: float | None
    labels: dict[str, float]


@dataclass(frozen=True)
class Told:
    """A version in the last minute, in the last hour, and from minute to minute, the latest last."""

    name: str
    version: str
    minute: Rates
    hour: Rates
    curve: list[Rates]


@dataclass(frozen=True)
class _Counted:
    """What a version has counted since the server started."""

    codes: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, float] = field(default_factory=dict)
    below: Mapping[str, float] = field(default_factory=dict)
    texts: float = 0.0
    batches: float = 0.0
    confidence: float = 0.0
    waited: float = 0.0
    arrived: float = 0.0


@dataclass(frozen=True)
class _Moment:
    at: float
    counted: Mapping[Key, _Counted]


class Traffic:
    """Moments of the last hour; `add` and `told` may be called from several threads."""

    def __init__(self) -> None:
        self._moments: list[_Moment] = []
        self._lock = threading.Lock()

    def add(self, metrics: Metrics, at: float | None = None) -> None:
        """Keep what was counted until a moment, in seconds of `time.monotonic`."""
        at = time.monotonic() if at is None else at
        moment = _Moment(at, {key: _counted(metrics, *key) for key in _versions(metrics)})
        with self._lock:
            if self._moments and _began_again(self._moments[-1], moment):
                self._moments.clear()
            self._moments.append(moment)
            self._moments = _thinned(self._moments, at)

    def told(self) -> list[Told]:
        """Every version that has counted anything, in the order of their names."""
        with self._lock:
            moments = list(self._moments)
        if not moments:
            return []
        return [_told(key, moments) for key in sorted(moments[-1].counted)]


def _versions(metrics: Metrics) -> set[Key]:
    models = metrics.by("model", "bertserve_requests_total")
    return {
        (name, version)
        for name in models
        for version in metrics.by("version", "bertserve_requests_total", model=name)
    }


def _counted(metrics: Metrics, name: str, version: str) -> _Counted:
    own = {"model": name, "version": version}
    return _Counted(
        codes=metrics.by("code", "bertserve_requests_total", **own),
        labels=metrics.by("label", "bertserve_labels_total", **own),
        below=metrics.by("le", "bertserve_confidence_bucket", **own),
        texts=metrics.total("bertserve_texts_total", code="ok", **own),
        batches=metrics.total("bertserve_batches_total", **own),
        confidence=metrics.total("bertserve_confidence_sum", **own),
        waited=metrics.total("ts_inference_latency_microseconds", model_name=name),
        arrived=metrics.total("ts_inference_requests_total", model_name=name),
    )


def _began_again(before: _Moment, now: _Moment) -> bool:
    """Whether another server counts, from zero: a count never falls."""
    return any(
        now.counted[key].texts < counted.texts
        for key, counted in before.counted.items()
        if key in now.counted
    )


def _thinned(moments: list[_Moment], now: float) -> list[_Moment]:
    kept: list[_Moment] = []
    for moment in moments:
        is_old = moment.at < now - HOUR - MINUTE
        is_near = bool(kept) and moment.at - kept[-1].at < _APART and moment.at < now - _RECENT
        if not is_old and not is_near:
            kept.append(moment)
    return kept


def _told(key: Key, moments: list[_Moment]) -> Told:
    last = moments[-1]
    times = [moment.at for moment in moments]

    def since(seconds: float) -> _Moment:
        """The last moment that is so long ago, or the first there is."""
        return moments[max(0, bisect_right(times, last.at - seconds) - 1)]

    edges = [since(MINUTE * n) for n in range(_POINTS, -1, -1)]
    curve = [
        _rates(key, before, after) for before, after in pairwise(edges) if after.at > before.at
    ]
    minute, hour = since(MINUTE), since(HOUR)
    return Told(*key, _rates(key, minute, last), _rates(key, hour, last), curve)


def _rates(key: Key, before: _Moment, after: _Moment) -> Rates:
    old = before.counted.get(key, _Counted())
    new = after.counted.get(key, _Counted())
    seconds = after.at - before.at
    codes = _difference(new.codes, old.codes)
    requests, texts = sum(codes.values()), new.texts - old.texts
    failed = {code: int(n) for code, n in codes.items() if code not in _OK}
    labels = _difference(new.labels, old.labels)
    below = _difference(new.below, old.below)
    return Rates(
        seconds=seconds,
        requests=requests / seconds if seconds else 0.0,
        failed=sum(failed.values()) / requests if requests else 0.0,
        codes=failed,
        latency=_quotient((new.waited - old.waited) / 1000, new.arrived - old.arrived),
        batch=_quotient(texts, new.batches - old.batches),
        confidence=_quotient(new.confidence - old.confidence, texts),
        median=_median(below),
        labels={label: n / texts for label, n in labels.items()} if texts else {},
    )


def _difference(new: Mapping[str, float], old: Mapping[str, float]) -> Counter[str]:
    return Counter({key: n - old.get(key, 0) for key, n in new.items() if n > old.get(key, 0)})


def _quotient(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _median(below: Mapping[str, float]) -> float | None:
    """Of a histogram, as Prometheus estimates it: values are spread evenly within a bucket."""
    total = below.get("+Inf", 0.0)
    if not total:
        return None
    low, counted = 0.0, 0.0
    for bound in sorted(float(each) for each in below if each != "+Inf"):
        count = next(n for each, n in below.items() if each != "+Inf" and float(each) == bound)
        if count >= total / 2:
            share = (total / 2 - counted) / (count - counted) if count > counted else 0.0
            return low + share * (bound - low)
        low, counted = bound, count
    return low

"""What the supervisor knows, as Prometheus and autoscalers read it; see docs/monitoring.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..clients import GONE, READY, STUCK, Model
from .workers import IsBusy, key

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = {READY: "ready", GONE: "gone", STUCK: "stuck"}
_OWN = ["model", "version"]


def exposition(
    is_ready: bool, models: Iterable[Model], is_busy: IsBusy, lost: Mapping[str, int]
) -> bytes:
    """Gauges and a counter, in Prometheus' format; `lost` are workers by "NAME/VERSION"."""
    ready = GaugeMetricFamily("bertserve_ready", "1 where requests are answered")
    workers = GaugeMetricFamily(
        "bertserve_workers", "workers by what they are", labels=[*_OWN, "state"]
    )
    wanted = GaugeMetricFamily(
        "bertserve_workers_wanted", "workers that there shall be", labels=_OWN
    )
    busy = GaugeMetricFamily("bertserve_workers_busy", "workers that are at a batch", labels=_OWN)
    waiting = GaugeMetricFamily(
        "bertserve_requests_waiting", "requests that no worker has yet", labels=_OWN
    )
    gone = CounterMetricFamily(
        "bertserve_workers_lost", "workers that TorchServe did not bring back", labels=_OWN
    )
    ready.add_metric([], is_ready)
    for model in models:
        names = [model.name, model.version]
        found = Counter(_STATES.get(each.status, "loading") for each in model.workers)
        for state in (*_STATES.values(), "loading"):
            workers.add_metric([*names, state], found[state])
        wanted.add_metric(names, model.wanted)
        busy.add_metric(names, sum(map(is_busy, model.workers)))
        waiting.add_metric(names, model.pending)
        gone.add_metric(names, lost.get(key(model), 0))
    registry = CollectorRegistry()
    registry.register(_Collected([ready, workers, wanted, busy, waiting, gone]))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

"""A fleet whose size an autoscaler decides, under load that rises and falls tenfold."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from .callers import Answers, Question, Wrk
from .fleet import Fleet, Pod
from .hosts import on
from .scaling import EVERY, Autoscaler

LOW, HIGH = 3, 30  # connections
_QUIET, _BUSY, _AFTER = 60.0, 240.0, 900.0  # seconds of each phase, the last one at most
_SCRAPE = 5.0
_MEAN = 60.0  # seconds, over which the adapter averages a gauge


@dataclass(frozen=True)
class Step:
    """An evaluation: when, connections, replicas before and after, and averages of the metrics."""

    seconds: float
    connections: int
    replicas: int
    ready: int
    desired: int
    averages: dict[str, float]


def follow(fleet: Fleet, question: Question) -> tuple[list[Step], list[Answers]]:
    """Evaluate every 15 s, and start or delete replicas as it is decided."""
    scaler = Autoscaler(fleet.chart.one("HorizontalPodAutoscaler")["spec"])
    gauges = Gauges(fleet, list(scaler.targets))
    runs: list[Answers] = []
    load = Load(fleet, question, runs)
    steps: list[Step] = []
    begin = time.monotonic()
    removals: list[threading.Thread] = []
    try:
        load.connections = LOW
        while True:
            time.sleep(EVERY)
            now = time.monotonic() - begin
            load.connections = HIGH if _QUIET <= now < _QUIET + _BUSY else LOW
            samples = gauges.averages()
            replicas = len(fleet.replicas)
            desired = scaler.decide(now, replicas, samples)
            means = {
                name: round(sum(each[name] for each in samples) / max(1, len(samples)), 2)
                for name in scaler.targets
            }
            steps.append(Step(now, load.connections, replicas, len(samples), desired, means))
            print(steps[-1], file=sys.stderr, flush=True)
            for _ in range(desired - replicas):
                fleet.add()
            for pod in fleet.replicas[desired:][::-1]:
                removals.append(threading.Thread(target=fleet.remove, args=(pod,)))
                removals[-1].start()
            is_over = now > _QUIET + _BUSY and desired == scaler.spec["minReplicas"]
            if is_over or now > _QUIET + _BUSY + _AFTER:
                return steps, runs
    finally:
        load.end()
        gauges.end()
        for each in removals:
            each.join()


class Load:
    """wrk, in runs of ten seconds with as many connections as there shall be."""

    def __init__(self, fleet: Fleet, question: Question, runs: list[Answers]) -> None:
        self.connections = 0
        self._ended = threading.Event()
        self._thread = _thread(lambda: self._ask(fleet, question, runs))

    def _ask(self, fleet: Fleet, question: Question, runs: list[Answers]) -> None:
        while not self._ended.is_set():
            if self.connections:
                wrk = Wrk(fleet.network.bridge, question, self.connections, 10)
                runs.append(wrk.answers())

    def end(self) -> None:
        """Let the last run end."""
        self._ended.set()
        self._thread.join()


class Gauges:
    """The gauges of the replicas that are ready, as Prometheus would keep them."""

    def __init__(self, fleet: Fleet, names: list[str]) -> None:
        self._fleet, self._names = fleet, names
        self._seen: dict[Pod, deque[tuple[float, dict[str, float]]]] = {}
        self._ended = threading.Event()
        self._thread = _thread(self._watch)

    def averages(self) -> list[dict[str, float]]:
        """Of each replica that is ready, over the last minute."""
        since = time.monotonic() - _MEAN
        found = []
        for pod in list(self._fleet.replicas):
            kept = [values for at, values in self._seen.get(pod, ()) if at >= since]
            if kept:
                found.append(
                    {name: sum(each[name] for each in kept) / len(kept) for name in self._names}
                )
        return found

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SCRAPE):
            for pod in list(self._fleet.replicas):
                if pod.is_ready() and (values := self._read(pod)) is not None:
                    kept = self._seen.setdefault(pod, deque(maxlen=100))
                    kept.append((time.monotonic(), values))

    def _read(self, pod: Pod) -> dict[str, float] | None:
        command = ["curl", "-s", "-f", "-m", "3", f"http://{pod.host.address}:8083/metrics"]
        done = subprocess.run(
            on(self._fleet.network.bridge, command), capture_output=True, text=True, check=False
        )
        if done.returncode:
            return None
        totals = dict.fromkeys(self._names, 0.0)
        for family in text_string_to_metric_families(done.stdout):
            for sample in family.samples:
                if sample.name in totals:
                    totals[sample.name] += sample.value
        return totals


def is_steady(steps: list[Step], least: int) -> bool:
    """Up within two evaluations of the rise, down to the least in the end, and never back and forth."""
    changes = [step.desired - step.replicas for step in steps if step.desired != step.replicas]
    turns = sum((one > 0) != (other > 0) for one, other in pairwise(changes))
    rise = next(number for number, step in enumerate(steps) if step.connections == HIGH)
    up = any(step.desired > step.replicas for step in steps[rise + 1 : rise + 3])
    return up and turns == 1 and steps[-1].desired == least


def _thread(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread

"""What happens to a fleet while it is asked, and what its callers notice."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from .callers import Answers, Question, Wrk
from .fleet import Fleet, Pod
from .manifests import Chart

CONNECTIONS = 32
_LEAD = 3.0  # seconds of load before a fault
_AWAY = 20.0  # seconds that a replica is frozen, or cut off


@dataclass(frozen=True)
class Seen:
    """A fault, how long it took until all replicas were ready again, and what wrk noticed meanwhile."""

    fault: str
    seconds: float
    answers: Answers


def killed(_: Fleet, pod: Pod) -> None:
    """All processes of the server end at once; a kubelet starts it anew."""
    pod.main.signal(signal.SIGKILL)
    while pod.is_ready(seconds=0.5):
        time.sleep(0.1)
    pod.wait_until_ready()


def stopped(fleet: Fleet, pod: Pod) -> None:
    """It is deleted, and another one is started at once, as a Deployment does."""
    gone = threading.Thread(target=fleet.remove, args=(pod,))
    gone.start()
    fleet.add().wait_until_ready()
    gone.join()


def frozen(_: Fleet, pod: Pod) -> None:
    """None of its processes runs for a while."""
    pod.all(signal.SIGSTOP)
    time.sleep(_AWAY)
    pod.all(signal.SIGCONT)
    pod.wait_until_ready()


def cut_off(fleet: Fleet, pod: Pod) -> None:
    """Nothing reaches it for a while, and nothing of it arrives."""
    fleet.network.connect(pod.host, connected=False)
    time.sleep(_AWAY)
    fleet.network.connect(pod.host)
    pod.wait_until_ready()


def rolled_out(fleet: Fleet, chart: Chart) -> None:
    """Each replica is replaced by one of another chart: one more at a time, and none less."""
    for former in list(fleet.replicas):
        fleet.add(chart).wait_until_ready()
        fleet.remove(former)
    fleet.chart = chart


FAULTS = {
    "SIGKILL": killed,
    "SIGTERM": stopped,
    "frozen for 20 s": frozen,
    "cut off for 20 s": cut_off,
}


def play(fleet: Fleet, question: Question, charts: list[Chart], rounds: int) -> Iterator[Seen]:
    """Each fault of another replica, then a rollout of the next chart, so many times."""
    yield _while_asked(fleet, question, "none", lambda: time.sleep(_AWAY))
    for number in range(rounds):
        for place, (name, fault) in enumerate(FAULTS.items()):
            pod = fleet.replicas[(number + place) % len(fleet.replicas)]
            yield _while_asked(fleet, question, name, partial(fault, fleet, pod))
        chart = charts[(number + 1) % len(charts)]
        yield _while_asked(fleet, question, "rollout", partial(rolled_out, fleet, chart))


def _while_asked(fleet: Fleet, question: Question, name: str, fault: Callable[[], None]) -> Seen:
    """wrk asks in short runs, one after the other, until all is well again."""
    ended = threading.Event()
    runs: list[Answers] = []

    def ask() -> None:
        while not ended.is_set():
            runs.append(Wrk(fleet.network.bridge, question, CONNECTIONS, 10).answers())

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(_LEAD)
    begin = time.monotonic()
    try:
        fault()
    finally:
        took = time.monotonic() - begin
        ended.set()
        asking.join()
    return Seen(name, took, _together(runs))


def _together(runs: list[Answers]) -> Answers:
    return Answers(
        answered=sum(each.answered for each in runs),
        refused=sum(each.refused for each in runs),
        wrong=sum(each.wrong for each in runs),
        lost=sum(each.lost for each in runs),
        median=max(each.median for each in runs),
        p99=max(each.p99 for each in runs),
        longest=max(each.longest for each in runs),
        example=next((each.example for each in runs if each.example), ""),
    )

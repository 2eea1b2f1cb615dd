"""What the supervisor calls ready, how it drains, and what it tells Prometheus."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bertserve.clients.results import Model, Worker
from bertserve.errors import Unavailable
from bertserve.serving import supervisor as supervising
from bertserve.serving.state import LOCK, alone
from bertserve.serving.supervisor import Supervisor
from serving import PATIENCE, wait_until

pids = count()


@dataclass
class Served:
    """A server whose models are what a test says."""

    folder: Path
    models: list[Model] = field(default_factory=list)
    is_alive: bool = True

    def __post_init__(self) -> None:
        self.directory = self.scratch = str(self.folder)
        self.logs = self.folder

    def judge(self) -> Any:
        return lambda worker: worker.status

    def process(self) -> Any:
        class Process:
            pid = os.getpid()

            def children(self) -> list[Any]:
                return [Mock(pid=next(pids))]  # so that each look is a new one

        return Process() if self.is_alive else None

    def grpc_client(self, _: str, **__: Any) -> Any:
        served = self

        class Client:
            def models(self) -> list[Model]:
                if not served.is_alive:
                    raise Unavailable("no answer")
                return served.models

        return Client()


def model(*states: str, version: str = "1.0", default: bool = True, pending: int = 0) -> Model:
    workers = tuple(Worker(f"{9000 + n}", 0, state) for n, state in enumerate(states))
    return Model("support", version, default, workers, len(workers), pending)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


@pytest.fixture
def watching(served: Served) -> Supervisor:
    return Supervisor(served)  # type: ignore[arg-type]


def test_before_the_first_look_nothing_is_known(watching: Supervisor) -> None:
    assert watching.missing() == ["TorchServe does not answer"]


def test_while_it_is_being_started_it_is_not_ready(served: Served, watching: Supervisor) -> None:
    served.models = [model("READY")]
    watching.look()
    lock = served.folder / LOCK
    with alone(lock, "another one starts it"):
        assert watching.missing() == ["the server is being started"]
    assert watching.missing() == []
    with alone(lock, "another one starts it"):  # somebody who sees then that it runs
        assert watching.missing() == []


def test_a_version_that_comes_is_ready_with_all_its_workers(
    served: Served, watching: Supervisor
) -> None:
    served.models = [model("READY", "UNLOADING")]
    watching.look()
    assert watching.missing() == ["support 1.0 has 1 of 2 workers that it needs"]
    served.models = [model("READY", "READY")]
    watching.look()
    assert watching.missing() == []


def test_one_that_was_whole_is_ready_while_it_has_a_worker(
    served: Served, watching: Supervisor
) -> None:
    for states, missing in (
        (("READY", "READY"), []),
        (("READY", "GONE"), []),
        (("READY", "READY", "UNLOADING"), []),
        (("GONE", "STUCK"), ["support 1.0 has 0 of 2 workers that it needs"]),
        # all were gone: it comes anew
        (("READY", "UNLOADING"), ["support 1.0 has 1 of 2 workers that it needs"]),
        (("READY", "READY"), []),
    ):
        served.models = [model(*states)]
        watching.look()
        assert watching.missing() == missing


def test_versions_that_are_not_the_default_do_not_count(
    served: Served, watching: Supervisor
) -> None:
    served.models = [model("READY"), model("UNLOADING", version="2.0", default=False)]
    watching.look()
    assert watching.missing() == []


def test_a_version_without_workers_answers_nothing(served: Served, watching: Supervisor) -> None:
    served.models = [model()]
    watching.look()
    assert watching.missing() == ["support 1.0 has 0 of 1 workers that it needs"]


def test_of_a_server_that_ended_nothing_is_known(served: Served, watching: Supervisor) -> None:
    served.models = [model("READY")]
    watching.look()
    served.is_alive = False
    assert watching.missing() == ["TorchServe does not answer"]


def test_of_a_server_that_is_stopped_nothing_is_ready(
    served: Served, watching: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.models = [model("READY")]
    watching.look()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        monkeypatch.setattr(served, "process", lambda: psutil.Process(process.pid))
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: watching.missing() == ["TorchServe's process is stopped"])
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: watching.missing() == [])
        process.kill()


@pytest.mark.parametrize("doubtful", ["a worker", "a look"])
def test_of_what_gives_no_sign_of_life_another_one_is_waited_for(
    doubtful: str, served: Served, watching: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a pause of the whole machine, where each program wakes up at its own moment."""
    monkeypatch.setattr(supervising, "_DOUBT", PATIENCE)
    served.models = [model("READY")]
    watching.look()
    assert watching.missing() == []
    if doubtful == "a worker":
        served.models = [model("STUCK")]
        watching.look()
    else:
        monkeypatch.setattr(watching, "seen", watching.seen - 3600)
    found: list[list[str]] = []
    thread = threading.Thread(target=lambda: found.append(watching.missing()))
    thread.start()
    assert not found
    served.models = [model("READY")]
    watching.look()
    thread.join()
    assert found == [[]]


def test_no_sign_of_life_is_no_answer_in_the_end(served: Served, watching: Supervisor) -> None:
    served.models = [model("READY")]
    watching.look()
    assert watching.missing() == []
    served.models = [model("STUCK")]
    watching.look()
    assert watching.missing() == ["support 1.0 has 0 of 1 workers that it needs"]


def test_draining_waits_for_what_waits(
    served: Served, watching: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "_QUIET", 0.05)
    served.models = [model("READY", pending=2)]
    watching.look()
    found: list[dict[str, int]] = []
    thread = threading.Thread(target=lambda: found.append(watching.drain()))
    thread.start()
    wait_until(lambda: watching.missing() == ["the server is being drained"])
    assert not found
    served.models = [replace(served.models[0], pending=0)]
    thread.join()
    assert found == [{"waiting": 0, "busy": 0}]
    assert watching.missing() == ["the server is being drained"]


def test_who_takes_the_place_of_a_supervisor_that_drained_is_not_ready(
    served: Served, watching: Supervisor
) -> None:
    served.models = [model("READY")]
    watching.look()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervising, "_QUIET", 0.0)
        watching.drain()
    another = Supervisor(served)  # type: ignore[arg-type]
    another.look()
    assert another.missing() == ["the server is being drained"]


def test_draining_has_an_end(
    served: Served, watching: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "DRAINING", 0.1)
    served.models = [model("READY", pending=2)]
    assert watching.drain() == {"waiting": 2, "busy": 0}


def test_gauges_are_those_of_the_moment(served: Served, watching: Supervisor) -> None:
    served.models = [model("READY", "READY")]
    watching.look()
    served.models = [model("READY", "GONE", "UNLOADING", pending=7)]
    watching.lost["support/1.0"] = 3
    own = {"model": "support", "version": "1.0"}
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(watching.metrics().decode())
        for sample in family.samples
    }

    def gauge(name: str, **labels: str) -> float:
        return found[f"bertserve_{name}", frozenset({**own, **labels}.items())]

    assert found["bertserve_ready", frozenset()] == 1
    states = ("ready", "gone", "stuck", "loading")
    assert [gauge("workers", state=each) for each in states] == [1, 1, 0, 1]
    assert gauge("workers_wanted") == 3
    assert gauge("workers_busy") == 0
    assert gauge("requests_waiting") == 7
    assert gauge("workers_lost_total") == 3

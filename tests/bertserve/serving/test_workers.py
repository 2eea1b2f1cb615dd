"""What workers really are, and how many to ask TorchServe for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bertserve.clients.results import Model, Worker
from bertserve.handler.heartbeat import LAYOUT
from bertserve.serving.store import serving_before
from bertserve.serving.workers import (
    busy,
    judge,
    read_written_off,
    slots,
    truth,
    write_written_off,
)
from serving import wait_until


def model(*workers: Worker, wanted: int | None = None) -> Model:
    return Model("m", "1.0", True, workers, len(workers) if wanted is None else wanted)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "60"]) as started:
        yield started
        started.kill()


def test_what_torchserve_calls_otherwise_is_left(tmp_path: Path) -> None:
    assert judge(tmp_path)(Worker("9000", -1, "UNLOADING")) == "UNLOADING"


def test_a_process_that_is_gone(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    worker = Worker("9000", process.pid, "READY")
    assert judge(tmp_path)(worker) == "READY"
    process.kill()  # it is a zombie then
    wait_until(lambda: judge(tmp_path)(worker) == "GONE")
    process.wait()
    assert judge(tmp_path)(worker) == "GONE"


def test_a_process_that_is_stopped(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    worker = Worker("9000", process.pid, "READY")
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: judge(tmp_path)(worker) == "STUCK")
    os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: judge(tmp_path)(worker) == "READY")


@pytest.mark.parametrize(
    ("beaten", "busy_for", "status"),
    [(0, 0, "READY"), (60, 0, "READY"), (0, 60, "READY"), (60, 60, "STUCK")],
)
def test_a_worker_at_a_batch_that_gives_no_sign_of_life(
    tmp_path: Path, beaten: float, busy_for: float, status: str
) -> None:
    now = time.monotonic()
    told = LAYOUT.pack(now - beaten, now - busy_for if busy_for else 0.0)
    (tmp_path / str(os.getpid())).write_bytes(told)
    assert judge(tmp_path)(Worker("9000", os.getpid(), "READY")) == status


def test_a_worker_at_a_batch_is_busy(tmp_path: Path) -> None:
    worker, is_busy = Worker("9000", os.getpid(), "READY"), busy(tmp_path)
    assert not is_busy(worker)  # an older archive's tells nothing
    heartbeat = tmp_path / str(worker.pid)
    heartbeat.write_bytes(LAYOUT.pack(1.0, 0.0))
    assert not is_busy(worker)
    heartbeat.write_bytes(LAYOUT.pack(1.0, 1.0))
    assert is_busy(worker)
    assert is_busy(replace(worker, status="STUCK"))
    assert not is_busy(replace(worker, status="GONE"))


def test_the_truth_of_a_model(tmp_path: Path) -> None:
    alive, gone = Worker("9000", os.getpid(), "READY"), Worker("9001", 2**22 + 1, "READY")
    assert not psutil.pid_exists(gone.pid)
    (found,) = truth([model(alive, gone)], judge(tmp_path), {})
    assert [each.status for each in found.workers] == ["READY", "GONE"]
    assert (found.state, found.ready, found.wanted) == ("DEGRADED", 1, 2)
    (found,) = truth([model(alive, gone)], judge(tmp_path), {"m/1.0": ["9001"]})
    assert (found.workers, found.state, found.wanted) == ((alive,), "READY", 1)
    (found,) = truth([model(alive, gone)], judge(tmp_path), {"m/1.0": ["9000"]})
    assert found.wanted == 2  # it came back to life


@pytest.mark.parametrize(
    ("ids", "lost", "workers", "expected"),
    [
        ("ab", "", 2, 2),
        ("ab", "", 5, 5),
        ("ab", "", 1, 1),
        ("abc", "a", 2, 3),
        ("abc", "a", 4, 5),
        ("abc", "a", 1, 2),
        ("abc", "c", 2, 3),
        ("abc", "c", 1, 1),
        ("abcd", "ac", 1, 2),
    ],
)
def test_how_many_to_ask_for(ids: str, lost: str, workers: int, expected: int) -> None:
    found = model(*(Worker(each, 1, "READY") for each in ids))
    assert slots(found, {"m/1.0": list(lost)}, workers) == expected


def test_what_is_written_off_is_remembered(tmp_path: Path) -> None:
    assert read_written_off(tmp_path) == {}
    write_written_off(tmp_path, {"m/1.0": ["9000"], "m/2.0": []})
    assert read_written_off(tmp_path) == {"m/1.0": ["9000"]}
    write_written_off(tmp_path, {"m/1.0": []})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "written_off.json").write_text("[1]")
    assert read_written_off(tmp_path) == {}


def test_a_start_does_not_count_them_again(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    state = '{"models": {"m": {"1.0": {"defaultVersion": true, "minWorkers": 3}}}}'
    (folder / "1.cfg").write_text(f"model_snapshot={state}")
    assert [was.workers for was in serving_before(tmp_path)] == [3]
    assert [was.workers for was in serving_before(tmp_path, {"m/1.0": ["9000"]})] == [2]

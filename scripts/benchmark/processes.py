"""Start and end a server; what its processes use of CPU and memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import psutil

STOP_TIMEOUT = 20.0
SETTLE_TIMEOUT = 60.0
_SETTLE_SECONDS = 0.5
_IDLE = 0.1  # of a core; a server that waits uses less
_SAMPLE_SECONDS = 0.5


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path, **variables: str) -> Iterator[psutil.Process]:
    """A program while it runs; its output goes to `log`, and all its processes end with it."""
    with log.open("ab") as output:
        program = subprocess.Popen(
            list(map(str, command)),
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we end what we started
        )
    process = psutil.Process(program.pid)
    try:
        yield process
    finally:
        end(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)  # what outlived the parent that started it
        program.wait()


def end(root: psutil.Process) -> None:
    """End a process and all that it started."""
    family = tree(root)
    for act in (psutil.Process.terminate, psutil.Process.kill):
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                act(process)
        _, family = psutil.wait_procs(family, timeout=STOP_TIMEOUT)


def tree(root: psutil.Process) -> list[psutil.Process]:
    """A process and all that it started, as far as they live."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def cpu_seconds(root: psutil.Process) -> float:
    """CPU seconds that the processes of a tree have used, user and system."""
    total = 0.0
    for process in tree(root):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def memory(root: psutil.Process) -> int:
    """Bytes of a tree: the sum of PSS, in which a page that several processes share counts once."""
    total = 0
    for process in tree(root):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def settle(root: psutil.Process) -> None:
    """Wait until a server has done the work that is left; requests of closed connections are some."""
    last = time.monotonic() + SETTLE_TIMEOUT
    while time.monotonic() < last:
        before = cpu_seconds(root)
        time.sleep(_SETTLE_SECONDS)
        if cpu_seconds(root) - before < _IDLE * _SETTLE_SECONDS:
            return


class Usage:
    """What a tree of processes uses inside a `with` block: `cpu_seconds`, and `peak_memory` in bytes."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Usage:
        self.peak_memory = memory(self._root)
        self._before = cpu_seconds(self._root)
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cpu_seconds = cpu_seconds(self._root) - self._before
        self._ended.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.peak_memory = max(self.peak_memory, memory(self._root))


def last_line(log: Path) -> str:
    """The last line of a log, for want of a better reason."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"

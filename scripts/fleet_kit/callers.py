"""Plain callers, which try nothing twice: wrk with many connections, one curl after the other, gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .hosts import Host, on

_SCRIPT = Path(__file__).with_name("load.lua")
_GRPC_CALLER = Path(__file__).with_name("grpc_caller.py")
_GIVES_UP = 120  # seconds until a caller no more waits


@dataclass(frozen=True)
class Question:
    """What is asked, of whom, and which answers are right."""

    url: str
    token: str
    body: str
    right: Sequence[Path]


@dataclass(frozen=True)
class Answers:
    """What wrk was answered: numbers of requests, and latency in milliseconds."""

    answered: int
    refused: int
    wrong: int
    lost: int
    median: float
    p99: float
    longest: float
    example: str

    @property
    def failed(self) -> int:
        """Requests that were not answered, or not rightly."""
        return self.refused + self.wrong + self.lost


class Wrk:
    """wrk, from now on for some seconds."""

    def __init__(self, host: Host, question: Question, connections: int, seconds: float) -> None:
        command = ["wrk", "-t2", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", f"{_GIVES_UP}s", "-s", str(_SCRIPT), question.url, "--"]
        command += [question.token, question.body, *map(str, question.right)]
        self._process = subprocess.Popen(on(host, command), stdout=subprocess.PIPE, text=True)

    def answers(self) -> Answers:
        """Wait until it has ended."""
        output, _ = self._process.communicate()
        (found,) = (line for line in output.splitlines() if line.startswith("FOUND "))
        _, *numbers, said = found.split(" ", maxsplit=8)
        answered, refused, wrong, lost, *microseconds = map(int, numbers)
        median, p99, longest = (each / 1000 for each in microseconds)
        return Answers(answered, refused, wrong, lost, median, p99, longest, said.strip())


@dataclass
class Alone:
    """What one caller was answered, one request after the other; seconds of the slowest."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0


@contextmanager
def curls(host: Host, question: Question, folder: Path, processes: int = 2) -> Iterator[Alone]:
    """Ask by curl without pause."""
    seen, lock, ended = Alone(), threading.Lock(), threading.Event()
    right = {path.read_bytes() for path in question.right}

    def ask(number: int) -> None:
        kept = folder / f"answer-{number}"
        command = ["curl", "-s", "-S", "-m", str(_GIVES_UP), "-o", str(kept), "-w", "%{http_code}"]
        command += ["-H", f"Authorization: Bearer {question.token}", "-d", question.body]
        command += ["-H", "Content-Type: application/json", question.url]
        while not ended.is_set():
            begin = time.monotonic()
            done = subprocess.run(on(host, command), capture_output=True, text=True, check=False)
            took = time.monotonic() - begin
            is_right = done.stdout == "200" and kept.read_bytes() in right
            with lock:
                seen.requests += 1
                seen.longest = max(seen.longest, took)
                if not is_right:
                    seen.failures.append(f"{done.stdout} {done.stderr.strip()}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(processes)]
    for each in threads:
        each.start()
    try:
        yield seen
    finally:
        ended.set()
        for each in threads:
            each.join()


@contextmanager
def grpc_caller(host: Host, question: Question, target: str) -> Iterator[Alone]:
    """Ask over gRPC without pause, through one connection."""
    seen, ended = Alone(), threading.Event()
    command = [sys.executable, str(_GRPC_CALLER), target, question.token, question.body]
    command = on(host, [*command, *map(str, question.right)])

    def ask() -> None:
        while not ended.is_set():
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    told = json.loads(line)
                    seen.requests += 1
                    seen.longest = max(seen.longest, told["seconds"])
                    if told["failure"]:
                        seen.failures.append(told["failure"])
                    if ended.is_set():
                        process.communicate("")
                        return
            seen.failures.append(f"grpcio itself ended its process: {process.returncode}")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        ended.set()
        asking.join()

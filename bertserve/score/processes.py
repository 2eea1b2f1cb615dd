"""The processes that score for one Scorer: one has the model, others tokenize ahead for it.

    with Processes(folder, Options()) as processes:
        for answers in processes.answers(blocks): ...

Blocks of texts go to those that tokenize in turn, token ids straight from them to the one that
classifies, and its answers come back in the order of the blocks. Pipes hold little, so that nobody is
more than a block or two ahead, and memory is bounded whatever the number of texts.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

import pyarrow as pa

from ..errors import PackageError, ServerError
from ..system import tied_command
from .engine import DESCRIPTION, READING, TEXTS

_PROGRAM = Path(__file__).with_name("engine.py")
_AHEAD = 2  # blocks, beside those that the processes are at
_PATIENCE = 10.0  # seconds for a process to end that has nothing to do any more


Sink = tuple[pa.ipc.RecordBatchStreamWriter, IO[bytes]]  # and the pipe that it writes to


class Died(ServerError):
    """A process that scores has ended, and nobody asked it to."""


@dataclass(frozen=True)
class Options:
    """How texts are scored, and with what.

    max_length, long_text, calibrated   as requests have them; None stands for what the archive says
    threads       of the process that classifies; None for all cores
    gpu           number of the GPU, if there are several
    tokenizers    processes that tokenize
    """

    max_length: int | None = None
    long_text: str | None = None
    calibrated: bool = True
    threads: int | None = None
    gpu: int | None = None
    tokenizers: int = 1

    def of_texts(self) -> dict[str, Any]:
        """Those that change what a text is answered, and are given."""
        found = {"max_length": self.max_length, "long_text": self.long_text}
        return {name: value for name, value in found.items() if value is not None}


USUAL = Options()


class Processes:
    """Processes that have loaded an archive's folder; PackageError where it does not load.

    `description` is the model's own, see `bertserve models describe`.
    """

    def __init__(self, root: Path, options: Options) -> None:
        self._running = ExitStack()
        self._feed: _Feed | None = None
        self._started: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        try:
            # the processes end with the thread that started them, so that is one of their own
            starter = self._running.enter_context(ThreadPoolExecutor(1))
            self.description = starter.submit(self._start, root, options).result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End them."""
        self._running.close()
        if self._feed is not None:
            self._feed.stop()
            self._feed.thread.join()

    def _start(self, root: Path, options: Options) -> dict[str, Any]:
        pipes = [os.pipe() for _ in range(options.tokenizers)]
        asked = {
            "threads": options.threads,
            "gpu": options.gpu,
            "calibrated": options.calibrated,
            "sources": [reading for reading, _ in pipes],
        }
        writing = [number for _, number in pipes]
        try:
            classifies = self._run(
                ["classify", str(root), json.dumps(asked)],
                root,
                pass_fds=asked["sources"],
                stdin=subprocess.DEVNULL,
            )
            tokenize = [
                self._run(["tokenize", str(root)], root, stdin=subprocess.PIPE, stdout=number)
                for number in writing
            ]
        finally:  # theirs alone, so that the end of one is seen by the other
            for number in chain(*pipes):
                os.close(number)
        description = self._described(classifies)
        told = {**options.of_texts(), "longest": description["max_length"]}
        schema = TEXTS.with_metadata({READING: json.dumps(told)})
        self._sinks: list[Sink] = []
        for process in tokenize:
            assert process.stdin is not None
            self._sinks.append((pa.ipc.new_stream(process.stdin, schema), process.stdin))
        self._turns = cycle(self._sinks)
        return description

    def _described(self, classifies: subprocess.Popen[bytes]) -> dict[str, Any]:
        """What the process that classifies says of the model, once it is loaded."""
        assert classifies.stdout is not None
        try:
            self._answers = pa.ipc.open_stream(classifies.stdout)
            self._answers.read_next_batch()  # with no rows
        except (StopIteration, pa.ArrowException, OSError):
            raise PackageError(f"the model cannot score texts: {self._reason()}") from None
        description: dict[str, Any] = json.loads(self._answers.schema.metadata[DESCRIPTION])
        if "error" in description:
            raise PackageError(f"the model cannot score texts: {description['error']}")
        return description

    def _run(self, asked: list[str], root: Path, **options: Any) -> subprocess.Popen[bytes]:
        said = tempfile.TemporaryFile()  # noqa: SIM115
        self._running.callback(said.close)
        is_one = asked[0] == "tokenize"
        threads = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} if is_one else {}
        process = subprocess.Popen(
            [*tied_command(_PROGRAM), *asked],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1", **threads},
            stderr=said,
            **{"stdout": subprocess.PIPE, **options},
        )
        self._running.callback(_end, process)
        self._started.append((process, said))
        return process

    def answers(self, blocks: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Answers to each block, in order; Died where a process ends before. Blocks are taken ahead."""
        self._feed = feed = _Feed(blocks, self._turns, _AHEAD + len(self._sinks))
        try:
            while (one := feed.sent.get()) is True:
                try:
                    yield self._answers.read_next_batch()
                except (StopIteration, OSError, pa.ArrowException):
                    raise Died(f"a process that scores has died: {self._reason()}") from None
            if isinstance(one, BrokenPipeError):
                raise Died(f"a process that scores has died: {self._reason()}")
            if isinstance(one, BaseException):
                raise one
        finally:
            feed.stop()

    def _reason(self) -> str:
        """What the processes that ended said last, or how they ended."""
        for process, said in self._started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE if process is self._started[0][0] else 0.1)
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            if process.returncode is not None and process.returncode < 0:
                return f"signal {-process.returncode} ended it"
            if process.returncode:
                return lines[-1] if lines else f"exit status {process.returncode}"
        return "it ended by itself"


class _Feed:
    """A thread that sends blocks; `sent` has True for each, then None, or what kept it from more."""

    def __init__(self, blocks: Iterable[pa.RecordBatch], turns: Iterator[Sink], ahead: int) -> None:
        self.sent: Queue[bool | BaseException | None] = Queue(ahead)
        self._stopped = threading.Event()
        self.thread = threading.Thread(target=self._send, args=(blocks, turns), daemon=True)
        self.thread.start()

    def _send(self, blocks: Iterable[pa.RecordBatch], turns: Iterator[Sink]) -> None:
        try:
            for block in blocks:
                self.sent.put(True)
                if self._stopped.is_set():
                    return
                writer, pipe = next(turns)
                writer.write_batch(block)
                pipe.flush()
            self.sent.put(None)
        except BaseException as error:  # of whoever makes the blocks too
            self.sent.put(error)

    def stop(self) -> None:
        """Have it end as soon as it has sent what it is at."""
        self._stopped.set()
        with suppress(Empty):
            while True:
                self.sent.get_nowait()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # first: a stream that somebody reads from cannot be closed
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()

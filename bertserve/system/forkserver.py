"""Programs that share what they import: forked from one process that has torch and transformers.

    with Forkserver() as python:
        found = python.outcome(script, "argument", folder=root)

Importing both takes seconds for each process; here it is done once, while the caller does other things.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import IO, Any

from .processes import tied_command

_PROGRAM = Path(__file__).with_name("forking.py")
_IMPORTED = ("torch", "transformers.modeling_utils", "transformers.models.auto.modeling_auto")


class Forkserver:
    """A process that has imported what models need; it and its forks end with the one that started it."""

    def __enter__(self) -> Forkserver:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*tied_command(_PROGRAM), str(theirs.fileno()), *_IMPORTED],
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def outcome(
        self, script: Path, *arguments: str, folder: Path, given: str = ""
    ) -> dict[str, Any]:
        """The object of JSON on the last line that a program wrote; {"error"} where there is none."""
        output, errors = self.run(script, *arguments, folder=folder, given=given)
        last = output.splitlines()[-1:]
        if last and last[0].startswith("{"):
            return dict(json.loads(last[0]))
        return {"error": (errors.strip().splitlines() or ["it died"])[-1]}

    def run(self, script: Path, *arguments: str, folder: Path, given: str = "") -> tuple[str, str]:
        """What a Python program wrote to its standard output and error, with `given` as its input.

        `folder` is its working directory and its PYTHONPATH; it writes no bytecode there.
        """
        with ExitStack() as stack:
            lines, output, errors = (
                stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)
            )
            lines.write(given)
            lines.seek(0)
            streams = [each.fileno() for each in (lines, output, errors)]
            with self._program(script, arguments, folder, streams) as running:
                running.readall()
            output.seek(0)
            errors.seek(0)
            return output.read(), errors.read()

    @contextlib.contextmanager
    def started(
        self, script: Path, *arguments: str, folder: Path, given: IO[str], errors: IO[str]
    ) -> Iterator[IO[str]]:
        """A Python program's standard output, to be read while it runs; it does not outlive the block.

        `given` is a file for its standard input, `errors` one for what it says.
        """
        reading, writing = os.pipe()
        with os.fdopen(reading, encoding="utf-8") as output, ExitStack() as stack:
            try:
                streams = [given.fileno(), writing, errors.fileno()]
                running = stack.enter_context(self._program(script, arguments, folder, streams))
            finally:
                os.close(writing)
            stack.callback(_end, running)
            yield output

    @contextlib.contextmanager
    def _program(
        self, script: Path, arguments: Sequence[str], folder: Path, streams: Sequence[int]
    ) -> Iterator[FileIO]:
        """Start one; what can be read is its process id, and the end when it has ended."""
        asked = json.dumps([str(folder), str(script), arguments]).encode()
        reading, writing = os.pipe()
        with FileIO(reading) as running:
            try:
                with contextlib.suppress(OSError):  # it was killed: the program has said nothing
                    socket.send_fds(self._control, [asked], [*streams, writing])
            finally:
                os.close(writing)
            yield running


def _end(running: FileIO) -> None:
    """Kill a program that has not ended."""
    started = running.readline()
    os.set_blocking(running.fileno(), False)
    if started and running.read() is None:  # else that is the end
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(started), signal.SIGKILL)

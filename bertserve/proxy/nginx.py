"""The program itself: started, told to read its configuration anew, ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from ..errors import ConfigError
from ..system import tie_to

# seconds
_PATIENCE = 5.0  # a worker that is busy says late that it leaves
_PASSING_ON = 1.0  # one that leaves and has more to do waits for an answer, or for a caller
_POLL = 0.02


@dataclass
class Nginx:
    """nginx with the configuration in a folder, which holds all that it writes, too.

    leaving     workers that had the former configuration at the last reload
    """

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    leaving: list[psutil.Process] = field(default_factory=list)
    program: str = field(default_factory=lambda: _program())

    def write(self, files: Mapping[str, str]) -> None:
        """Write its configuration, which it does not read by itself; the folder is this user's alone."""
        for name, content in files.items():
            (self.folder / name).write_text(content, encoding="utf-8")

    def refusal(self) -> str | None:
        """What it would say against its configuration."""
        done = subprocess.run(
            [*self._command(), "-t", "-q"], capture_output=True, text=True, errors="replace"
        )
        said = done.stderr.strip().splitlines()
        return None if done.returncode == 0 else (said[0] if said else "it does not say why")

    def start(self) -> None:
        """Start it, and wait until it listens or has ended; it ends with this process."""
        self.process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the terminal is for us
            preexec_fn=partial(tie_to, os.getpid(), signal.SIGTERM),
        )
        self._wait_for_others(set())

    def reload(self) -> None:
        """Have it read its configuration; returns when no worker with the former one takes requests."""
        assert self.process
        self.leaving = self._workers()
        self.process.send_signal(signal.SIGHUP)
        self._wait_for_others({worker.pid for worker in self.leaving})

    def pass_on(self) -> None:
        """Wait until what former workers were asked has reached the server, as far as can be known."""
        psutil.wait_procs(self.leaving, timeout=_PASSING_ON)

    def _wait_for_others(self, former: set[int]) -> None:
        """Until other workers take requests."""
        deadline = time.monotonic() + _PATIENCE
        while self.ended() is None and time.monotonic() < deadline:
            takers = {worker.pid for worker in self._workers()}
            if takers and not takers & former:
                return
            time.sleep(_POLL)

    def ended(self) -> int | None:
        """Its exit status, once it has ended."""
        return self.process.poll() if self.process else None

    def end(self, *, gracefully: bool) -> None:
        """Have it end: after it has answered what it was asked, or at once."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if gracefully else signal.SIGTERM)
            return
        # workers of one that was killed live on, and take requests that nobody watches over any more
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _workers(self) -> list[psutil.Process]:
        """Those that take requests; one that leaves says so in its title."""
        found = []
        with suppress(psutil.Error):
            assert self.process
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    title = " ".join(child.cmdline())
                    if "worker process" in title and "shutting down" not in title:
                        found.append(child)
        return found

    def _command(self) -> list[str]:
        return [
            self.program,
            "-e",
            "stderr",
            "-p",
            str(self.folder),
            "-c",
            f"{self.folder}/nginx.conf",
        ]


def _program() -> str:
    # Debian keeps it where not everybody's path leads
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if found is None:
        raise ConfigError(
            "there is no nginx; install it, Debian's nginx-light has all that is needed"
        )
    return found


def check_log() -> None:
    """ConfigError where nginx could not write its log to our standard output."""
    sys.stdout.flush()
    try:
        with Path("/dev/stdout").open("ab"):
            pass
    except OSError as error:
        raise ConfigError(
            f"nginx cannot open standard output, where its log goes ({error.strerror}); let that be a "
            "file, a pipe or a terminal: under systemd StandardOutput=append:FILE"
        ) from error

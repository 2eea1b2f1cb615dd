"""The commands as a user runs them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from serving import PATIENCE, environment


def run(
    *arguments: str | Path, cwd: Path | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command, run to its end; `text` is its standard input."""
    command = [sys.executable, "-m", "bertserve", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(), input=text, capture_output=True, text=True, check=False
    )


def run_on_a_terminal(*arguments: str | Path) -> str:
    """What a command prints on a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bertserve", *map(str, arguments)]
    environment_ = {**environment(), "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(
        command, env=environment_, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the terminal is closed when the command ends
            break
        if not chunk:
            break
        printed += chunk
    process.wait(timeout=PATIENCE)
    os.close(ours)
    return printed.decode()

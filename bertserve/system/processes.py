"""Processes that must not outlive what they are for: those of a killed program, and of a server.

subprocess.run([*tied_command(script), "argument"])     # ends with this process, even one that is killed
end_family(torchserve_in(scratch))
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import psutil

_TORCHSERVE = "org.pytorch.serve.ModelServer"
_STOP_TIMEOUT = 30.0  # seconds


def tied_command(script: Path) -> list[str]:
    """A command that runs a Python program, which ends when this process does."""
    launcher = Path(__file__).parent / "tied.py"
    return [sys.executable, str(launcher), str(os.getpid()), str(script)]


def torchserve_in(scratch: Path) -> psutil.Process | None:
    """The TorchServe that runs with this folder as its temporary one."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int((scratch / ".model_server.pid").read_text()))
        command = process.cmdline()  # of a zombie it is empty
        if _TORCHSERVE in command and f"-Djava.io.tmpdir={scratch}" in command:
            return process
    return None


def end_family(process: psutil.Process) -> None:
    """End a process and all below it: asked first, and killed where that does not help."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, left = psutil.wait_procs(family, timeout=_STOP_TIMEOUT)
        for survivor in left:
            with contextlib.suppress(psutil.Error):
                survivor.kill()
        psutil.wait_procs(left, timeout=_STOP_TIMEOUT)

"""A virtual environment for each peer, made once from its pinned packages, and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


class Absent(Exception):
    """A peer cannot be measured here; says why."""


def requirements(name: str) -> tuple[str, ...]:
    """The pinned packages of `peers/NAME.txt`."""
    lines = (line.strip() for line in (PEERS / f"{name}.txt").read_text().splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def environment(name: str) -> Path:
    """The folder of programs of the environment of `peers/NAME.txt`; Absent where it cannot be made."""
    pinned = "\n".join([*requirements(name), f"python {sys.version_info[:2]}"])
    folder = _cache() / f"{name}-{hashlib.sha256(pinned.encode()).hexdigest()[:12]}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run(name, [sys.executable, "-m", "venv", str(folder)])
        _run(name, [*pip, "install", "--quiet", "-r", str(PEERS / f"{name}.txt")])
        (folder / "complete").touch()
    return folder / "bin"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bertserve-bench"


def _run(name: str, command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR:")]
        reason = (errors or result.stderr.splitlines() or ["it ended without a word"])[-1]
        raise Absent(f"the environment of {name} cannot be made: {reason}")

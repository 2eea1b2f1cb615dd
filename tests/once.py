"""What takes long to make, and is made by one process of the tests for all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Meanwhile no other process is in a block for the same folder, which need not exist."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder of this run that who needs it first makes, while others wait; nobody may change it."""
    common = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    folder = common / name
    with one_at_a_time(folder):
        if not folder.exists():
            make(unfinished := common / f"{name}.unfinished")
            unfinished.rename(folder)
    return folder

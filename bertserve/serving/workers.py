"""What the workers of a server really are, whatever TorchServe believes.

TorchServe calls a worker READY until its own thread for it says otherwise, and that thread may have
ended. A slot of TorchServe whose thread has ended is never used again: the supervisor has another one
made and writes the old one off, in the server's state folder.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import psutil

from ..clients import GONE, READY, STUCK, Model, Worker
from ..handler.heartbeat import LAYOUT

_WRITTEN_OFF = "written_off.json"
_SILENT = 1.5  # seconds; a worker that is at a batch tells of itself four times a second

WrittenOff = dict[str, list[str]]  # "NAME/VERSION" → the ids of TorchServe's workers
Judge = Callable[[Worker], str]
IsBusy = Callable[[Worker], bool]


def judge(heartbeats: Path) -> Judge:
    """What says the status of a worker: READY of TorchServe is looked at, GONE and STUCK are ours."""

    def status(worker: Worker) -> str:
        if worker.status != READY:
            return worker.status
        try:
            state = psutil.Process(worker.pid).status()
        except (psutil.Error, ValueError):
            return GONE
        if state in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return GONE
        return STUCK if state == psutil.STATUS_STOPPED or _is_silent(heartbeats, worker) else READY

    return status


def _is_silent(heartbeats: Path, worker: Worker) -> bool:
    """Whether it is at a batch and its process has no moment."""
    beat, busy_since = _told(heartbeats, worker)
    return busy_since > 0 and time.monotonic() - beat > _SILENT


def busy(heartbeats: Path) -> IsBusy:
    """What says whether a worker is at a batch."""
    return lambda worker: worker.status in (READY, STUCK) and _told(heartbeats, worker)[1] > 0


def _told(heartbeats: Path, worker: Worker) -> tuple[float, float]:
    """When a worker last had a moment, and since when it is at a batch; older archives do not tell."""
    try:
        beat, busy_since = LAYOUT.unpack((heartbeats / str(worker.pid)).read_bytes())
    except (OSError, ValueError, struct.error):
        return 0.0, 0.0
    return beat, busy_since


def truth(models: Iterable[Model], status: Judge, written_off: WrittenOff) -> list[Model]:
    """Models with the true status of their workers, without the slots that are written off."""
    found = []
    for model in models:
        lost = written_off.get(key(model), [])
        workers = [replace(each, status=status(each)) for each in model.workers]
        kept = tuple(each for each in workers if each.id not in lost or each.status != GONE)
        wanted = model.wanted - (len(workers) - len(kept))
        found.append(replace(model, workers=kept, wanted=wanted))
    return found


def slots(model: Model, written_off: WrittenOff, workers: int) -> int:
    """How many workers to ask TorchServe for, to have so many; `model` is as TorchServe describes it.

    It takes away the last ones of its list first, and counts those that are written off.
    """
    lost = written_off.get(key(model), [])
    alive = [each.id not in lost for each in model.workers]
    if workers >= sum(alive):
        return len(alive) + workers - sum(alive)
    return next(length for length in range(len(alive)) if sum(alive[:length]) == workers)


def key(model: Model) -> str:
    """How a version is called in the file."""
    return f"{model.name}/{model.version}"


def read_written_off(directory: Path) -> WrittenOff:
    """The slots that are written off; none where the file is missing."""
    try:
        return {name: list(ids) for name, ids in _read(directory).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _read(directory: Path) -> Mapping[str, list[str]]:
    found: Mapping[str, list[str]] = json.loads((directory / _WRITTEN_OFF).read_bytes())
    return found


def write_written_off(directory: Path, written_off: WrittenOff) -> None:
    """Remember them, whole or not at all; nothing is left of an empty one."""
    file = directory / _WRITTEN_OFF
    kept = {name: ids for name, ids in written_off.items() if ids}
    if not kept:
        file.unlink(missing_ok=True)
        return
    part = file.with_name(f".{file.name}")
    part.write_text(json.dumps(kept))
    part.replace(file)

"""Folders for what is on the way, and files that appear whole: what a killed program left is swept up.

    with scratch_folder("package") as folder: ...
    with appearing(target) as partial: shutil.copyfile(source, partial)

Whoever uses one holds a lock on it, which ends with its process, however that ends. So what bears our
mark, is this user's, and is locked by nobody belongs to nobody: the next program removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_YOUNG = 60.0  # seconds; its program may not have locked it yet
_MARK = ".made-by-bertserve"  # in each folder: a name like ours could be anybody's
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}")


@contextmanager
def scratch_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder in the temporary folder, or in another one, which goes away with what it holds."""
    folder = make_scratch(purpose, parent)
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_scratch(purpose: str, parent: Path | None = None) -> Path:
    """A folder in the temporary folder, for a server to keep; lock it until the server is known."""
    parent = parent or Path(tempfile.gettempdir())
    sweep(path for path in parent.glob("bertserve-*") if (path / _MARK).exists())
    folder = Path(tempfile.mkdtemp(prefix=f"bertserve-{purpose}-", dir=parent))
    (folder / _MARK).touch()
    return folder


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A file to write beside `target`; when the block is done it takes its place, or goes away."""
    beside = target.parent.glob(f".*{target.suffix}.*")
    sweep(path for path in beside if _PARTIAL.fullmatch(path.name))
    # two containers that share a folder have the same process numbers
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        partial.touch()
        with locked(partial):
            yield partial
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Meanwhile it belongs to this process; where a file system has no locks nobody sweeps it either."""
    number = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


def sweep(paths: Iterable[Path]) -> None:
    """Remove those that are this user's, not young, and nobody's."""
    for path in paths:
        with contextlib.suppress(OSError):
            found = path.lstat()
            is_ours = found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode)
            if is_ours and time.time() - found.st_mtime > _YOUNG:
                _remove_if_free(path)


def _remove_if_free(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            if not _has_server(path):
                shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        os.close(number)


def _has_server(folder: Path) -> bool:
    """Whether it is that of a TorchServe that runs, which holds no lock."""
    from .processes import torchserve_in

    return torchserve_in(folder) is not None

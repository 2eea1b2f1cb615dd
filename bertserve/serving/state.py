"""Each server's folder for its state: key file, logs, and server.json, which says what runs.

It is named after the server's config.properties, so servers with different configurations do not disturb
each other, and whoever knows the configuration finds the server.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError, ServerError
from ..system import end_family, torchserve_in
from .config import PACKAGED, location

LOCK = "lock"  # in the state folder: held while a server is being started
STARTING = "starting"  # in the state folder: the scratch folder of a server that is being started


def state_directory(config: Path) -> Path:
    """The folder that holds the state of the server of a `config.properties`."""
    path = location(config)
    owner = "default" if path == PACKAGED.resolve() else path.parent.name
    return states() / f"{owner}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def states() -> Path:
    """The folder of all servers' folders."""
    try:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:  # a user of a container that has no entry in passwd
        raise ConfigError(
            "there is no home folder to keep the state of servers in; set XDG_STATE_HOME, or HOME, to "
            "a folder that can be written"
        ) from None
    return Path(base).absolute() / "bertserve"


def make_writable(directory: Path) -> None:
    """Make a server's folder, for its user alone; ConfigError where that cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / LOCK).touch()
    except OSError as error:
        raise ConfigError(
            f"the server's state cannot be kept in {directory} ({error.strerror}); set XDG_STATE_HOME "
            "to a folder that can be written"
        ) from error


def is_being_started(directory: Path) -> bool:
    """Whether a program is at it that starts the server of a state folder."""
    try:
        with (directory / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def end_unfinished(directory: Path) -> None:
    """End the TorchServe of a start that was killed before it could say what it had started."""
    starting = directory / STARTING
    try:
        scratch = Path(starting.read_text(encoding="utf-8"))
    except OSError:
        return
    if process := torchserve_in(scratch):
        end_family(process)
    shutil.rmtree(scratch, ignore_errors=True)
    starting.unlink()


def forget(directory: Path) -> None:
    """Remove what a server that has ended leaves behind: its keys and its unpacked archives."""
    state = directory / "server.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        shutil.rmtree(json.loads(state.read_bytes())["scratch"], ignore_errors=True)
    state.unlink(missing_ok=True)
    (directory / "key_file.json").unlink(missing_ok=True)


@contextlib.contextmanager
def alone(lock_file: Path, refusal: str) -> Iterator[None]:
    """Hold a right that one program at a time has; ServerError with the refusal for all others."""
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServerError(refusal) from None
        yield

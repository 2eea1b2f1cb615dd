"""The tokens that TorchServe wants to see, from the `key_file.json` that it writes.

The file holds an inference key and a management key, which expire, and an API key, which does not and
makes new ones. TorchServe replaces a key in the file when it is renewed; the old one is dead at once, and
for a moment the file has no key, or the old one. Of keys that are renewed at the same time it may write
one and want another.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, Literal

import httpx

from ..errors import ServerError

Kind = Literal["inference", "management"]
# gives a key of a kind, and another one than the key that TorchServe refused, if it did
KeyReader = Callable[[Kind, "str | None"], "str | None"]

# seconds
_WRITING = 1.0  # the file may lag so long behind the server
_RENEWING = 5.0  # a renewal may take so long, and others wait for it
_POLL = 0.02


@dataclass(frozen=True)
class _Entry:
    key: str
    expires: datetime | None

    @property
    def has_expired(self) -> bool:
        return self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        if self.expires is None:
            return math.inf
        return (self.expires - datetime.now(timezone.utc)).total_seconds()


def read_key(key_file: Path, kind: Kind, refused: str | None = None) -> str:
    """The key of a kind as the file has it, expired or not; the refused one only if it stays."""
    return _read_another(key_file, kind, refused).key


def seconds_left(key_file: Path, kind: Kind) -> float:
    """For how long the key of a kind is valid still."""
    return _read(key_file, kind).seconds_left


def fresh_key(
    key_file: Path,
    kind: Kind,
    management: str,
    refused: str | None = None,
    ahead: float = 0.0,
) -> str:
    """A key that has not expired, and was not refused; one that has or was is renewed at `management`.

    So is one that expires within `ahead` seconds. Where a key that was refused cannot be renewed, say
    because the server is another one, it is returned.
    """
    entry = _read(key_file, kind)
    if entry.seconds_left <= ahead or entry.key == refused:
        with _alone(key_file):
            entry = _read_another(key_file, kind, refused)  # another program may have been faster
            if entry.seconds_left <= ahead:
                _renew(key_file, kind, management)
            elif entry.key == refused:
                with contextlib.suppress(ServerError):
                    _renew(key_file, kind, management)
            entry = _read(key_file, kind)
    return entry.key


def read_api_key(key_file: Path) -> str:
    """The key that makes new keys."""
    return _read(key_file, "API").key


def bearer(key: str | None) -> dict[str, str]:
    """The header that shows a key; none where the server asks for none."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def _read(key_file: Path, name: str) -> _Entry:
    last = time.monotonic() + _WRITING
    while True:
        try:
            content = key_file.read_bytes()
            with contextlib.suppress(ValueError):  # it is being written
                return _parse(json.loads(content)[name])
        except (OSError, LookupError, TypeError) as error:
            raise _unreadable(key_file, name) from error
        if time.monotonic() > last:
            raise _unreadable(key_file, name)
        time.sleep(_POLL)


def _parse(entry: dict[str, Any]) -> _Entry:
    if "expiration time" not in entry:
        return _Entry(str(entry["key"]), None)
    stamp = str(entry["expiration time"])[:19]  # Java writes nanoseconds, Python reads seconds
    expires = datetime.fromisoformat(stamp).replace(tzinfo=timezone.utc)
    return _Entry(str(entry["key"]), expires)


def _unreadable(key_file: Path, name: str) -> ServerError:
    return ServerError(
        f"{key_file} holds no readable {name} key; is the server running? `bertserve status`"
    )


def _read_another(key_file: Path, kind: Kind, refused: str | None) -> _Entry:
    """An entry whose key was not refused, if the file soon has one; one that has expired will do."""
    last = time.monotonic() + _WRITING
    while (entry := _read(key_file, kind)).key == refused and not entry.has_expired:
        if time.monotonic() > last:
            break
        time.sleep(_POLL)
    return entry


def _renew(key_file: Path, kind: Kind, management: str) -> None:
    try:
        response = httpx.get(
            f"{management}/token",
            params={"type": kind},
            headers=bearer(read_api_key(key_file)),
            timeout=_RENEWING,
            trust_env=False,  # where the file is, there is no proxy between
        )
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:
        raise ServerError(
            f"TorchServe does not answer at {management} ({type(error).__name__}); "
            "look at `bertserve status`"
        ) from error
    if response.status_code != 200:
        raise ServerError(
            f"TorchServe does not renew the {kind} key ({response.status_code}); "
            "restart it with `bertserve stop` and `bertserve serve`"
        )


@contextmanager
def _alone(key_file: Path) -> Iterator[None]:
    """Meanwhile no other program of ours renews a key of the file, unless one takes very long."""
    try:
        file = key_file.open("rb")
    except OSError as error:
        raise _unreadable(key_file, "API") from error
    with file, _locked(file):
        yield


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # on Windows
        yield
        return
    last = time.monotonic() + _WRITING + _RENEWING
    while time.monotonic() < last:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(_POLL)
        except OSError:  # a file system without locks
            break
    try:
        yield
    finally:  # not only by closing it, for a process that was forked meanwhile has it open too
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)

"""The tokens that TorchServe wants to see, from the `key_file.json` that it writes.

The file holds an inference key and a management key, which expire, and an API key, which does not and
makes new ones. TorchServe replaces a key in the file when it is renewed; the old one is dead at once. Of
keys that are renewed at the same time it may write one and want another.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import httpx

from .errors import ServerError

Kind = Literal["inference", "management"]
# gives a key of a kind that is another one than the key that was refused, if one was
KeyReader = Callable[[Kind, "str | None"], "str | None"]

_REST = 1.0  # seconds for which a key is not replaced, so that nobody keeps others from theirs


def read_key(key_file: Path, kind: Kind) -> str:
    """The key of a kind as the file has it, expired or not."""
    return str(_entry(key_file, kind)["key"])


def fresh_key(key_file: Path, kind: Kind, management: str, refused: str | None = None) -> str:
    """A key that has not expired, and was not refused; one that has or was is renewed at `management`.

    Where a key that was refused cannot be renewed, say because the server is another one, it is returned.
    """
    entry = _entry(key_file, kind)
    if _has_expired(entry) or entry["key"] == refused:
        with _alone(key_file):
            entry = _entry(key_file, kind)  # another program may have been faster
            if _has_expired(entry):
                _renew(key_file, kind, management)
            elif entry["key"] == refused:
                if time.time() - key_file.stat().st_mtime < _REST:
                    time.sleep(_REST)
                with contextlib.suppress(ServerError):
                    _renew(key_file, kind, management)
    return read_key(key_file, kind)


def _renew(key_file: Path, kind: Kind, management: str) -> None:
    try:
        response = httpx.get(
            f"{management}/token",
            params={"type": kind},
            headers=bearer(read_api_key(key_file)),
            trust_env=False,  # where the file is, there is no proxy between
        )
    except httpx.HTTPError as error:
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
    """No other program of ours renews a key of the file meanwhile."""
    with key_file.open("rb") as file:
        with contextlib.suppress(
            ImportError, OSError
        ):  # Windows and some file systems have no locks
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_api_key(key_file: Path) -> str:
    """The key that makes new keys."""
    return str(_entry(key_file, "API")["key"])


def bearer(key: str | None) -> dict[str, str]:
    """The header that shows a key; none where the server asks for none."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def _entry(key_file: Path, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(key_file.read_bytes())[name])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(
            f"{key_file} holds no readable {name} key; is the server running? `bertserve status`"
        ) from error


def _has_expired(entry: dict[str, Any]) -> bool:
    stamp = str(entry["expiration time"])[:19]  # Java writes nanoseconds, Python reads seconds
    expires = datetime.fromisoformat(stamp).replace(tzinfo=timezone.utc)
    return datetime.now(timezone.utc) >= expires

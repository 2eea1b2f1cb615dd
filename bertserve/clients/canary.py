"""A share of the requests for a version that is tried, while all others go to the default one.

    Client("support", version=Canary("2.0", percent=10))

decides for each request. On the machine of the server `bertserve canary` sets it for all clients that
`Server.client` makes, and for `bertserve predict`; a proxy can do the same for others, see docs/proxy.md.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..errors import ConfigError

# in the server's state folder: name → its canary
CANARIES = "canary.json"
_SHARES = 2**64


@dataclass(frozen=True)
class Canary:
    """Picks a version for `percent` of the requests, and the default one for the others.

    by    "text" sends the same text to the same version each time, "random" tosses a coin
    """

    version: str
    percent: float
    by: Literal["text", "random"] = "text"

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= 100:
            raise ConfigError(f"a canary gets 0 to 100 percent of the requests, not {self.percent}")

    def __call__(self, text: str) -> str | None:
        """The version for a request of that text; None stands for the default one."""
        share = random.random() if self.by == "random" else _share(text)
        return self.version if share * 100 < self.percent else None


class StoredCanary:
    """The canary that a server's state folder names for a model, looked up again when it changes."""

    def __init__(self, directory: Path, name: str) -> None:
        self._file = directory / CANARIES
        self._name = name
        self._stamp: int | None = None
        self._canary: Canary | None = None

    def __call__(self, text: str) -> str | None:
        """The version for a request of that text; None stands for the default one."""
        try:
            stamp = self._file.stat().st_mtime_ns
        except OSError:  # most servers have none
            return None
        if stamp != self._stamp:
            self._canary, self._stamp = read_canaries(self._file.parent).get(self._name), stamp
        return self._canary(text) if self._canary else None


def read_canaries(directory: Path) -> dict[str, Canary]:
    """Name → canary, of all models of a server."""
    try:
        found = json.loads((directory / CANARIES).read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: Canary(**canary) for name, canary in found.items()}


def store_canary(directory: Path, name: str, canary: Canary | None) -> None:
    """Set a model's canary, or take it away."""
    canaries = {**read_canaries(directory), name: canary}
    text = json.dumps({name: asdict(each) for name, each in canaries.items() if each})
    part = directory / f".{CANARIES}.part"
    part.write_text(text)
    part.replace(directory / CANARIES)  # whole, for clients read it meanwhile


def _share(text: str) -> float:
    """A number from 0 to 1 that is as good as random, and the same for the same text everywhere."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / _SHARES

"""What can change while a proxy runs: the server's key, callers' tokens, the certificate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..clients import fresh_key, seconds_left
from ..errors import ConfigError, ServerError
from ..serving import Config, known_addresses
from .configuration import TLS, Place
from .tokens import read_tokens

_AHEAD = 10.0  # seconds before it expires that a key is renewed


@dataclass(frozen=True)
class Sight:
    """What was seen.

    key           what the server wants to see; "" where it asks for none, None where none is known
    tokens        token → name of the caller
    certificate   name → content of its files
    problems      what keeps callers out, a sentence each
    """

    addresses: Config
    key: str | None
    tokens: Mapping[str, str]
    certificate: Mapping[str, str]
    problems: tuple[str, ...]

    @property
    def callers(self) -> str:
        """Who may call, for people."""
        return ", ".join(sorted(self.tokens.values())) or "nobody"


def look(place: Place) -> Sight:
    """What there is now; ConfigError where what names the server or its callers cannot be read."""
    addresses, key_file = known_addresses(place.config)
    tokens, problems = read_tokens(place.tokens)
    key = _key(addresses, key_file)
    return Sight(addresses, key, tokens, _certificate(place.tls), tuple(problems))


def expires_soon(place: Place) -> bool:
    """Whether the next look renews the server's key, which makes the present one worthless."""
    addresses, key_file = known_addresses(place.config)
    return addresses.tokens and _seconds_left(key_file) <= _AHEAD


def _seconds_left(key_file: Path) -> float:
    try:
        return seconds_left(key_file, "inference")
    except ServerError:
        return math.inf


def _key(addresses: Config, key_file: Path) -> str | None:
    if not addresses.tokens:
        return ""
    try:
        return fresh_key(key_file, "inference", addresses.management, ahead=_AHEAD)
    except ServerError:  # it has not started yet, or has ended
        return None


def _certificate(folder: Path | None) -> dict[str, str]:
    try:
        # what is no text nginx refuses in a sentence
        return (
            {name: (folder / name).read_text("utf-8", "replace") for name in TLS} if folder else {}
        )
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read ({error.strerror}); name a folder with tls.crt and tls.key "
            "with --tls"
        ) from error

"""Who may call: a folder with a file for each caller, as Kubernetes mounts a Secret.

A file's name is the caller's name in the log, its content the token. What begins with a dot is
Kubernetes' own: it puts new content into a hidden folder, and then turns one link.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError

_LONGEST = 200  # characters; what nginx can hold in one place of its map is 256 bytes
_TOKEN = re.compile(
    rf"[A-Za-z0-9._~+/=-]{{1,{_LONGEST}}}"
)  # as RFC 6750 has it; nginx takes it as it is
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")  # as a Secret's keys


def read_tokens(folder: Path) -> tuple[Mapping[str, str], list[str]]:
    """Token → name of the caller, and a sentence for each file that lets nobody in.

    ConfigError where the folder itself cannot be read.
    """
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(
            f"the folder of tokens, {folder}, cannot be read ({error.strerror}); name one with a file "
            "for each caller with --tokens"
        ) from error
    tokens: dict[str, str] = {}
    taken: dict[str, Path] = {}
    problems = []
    for path in files:
        if path.is_dir():
            continue
        try:
            token = _read(path)
            same = taken.setdefault(
                token.casefold(), path
            )  # nginx sees no upper and lower case there
            if same != path:
                raise ConfigError(f"{path} has the token of {same.name}; make one for each caller")
            tokens[token] = path.name
        except ConfigError as error:
            problems.append(str(error))
    return tokens, problems


def _read(path: Path) -> str:
    """A file's token; ConfigError says what is wrong with it, and never the token itself."""
    if not _NAME.fullmatch(path.name):
        raise ConfigError(
            f"{path.parent} has a file named {path.name!r}; name it after a caller, in letters, "
            "digits and . _ -"
        )
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe is to wait for who writes
            raise ConfigError(f"{path} is no file; write the token into one")
        with path.open("rb") as file:
            token = file.read(_LONGEST + 100).decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); let this user read it"
        ) from error
    if not _TOKEN.fullmatch(token):
        what = "holds no token" if token else "is empty"
        raise ConfigError(
            f"{path} {what}; write one line into it, of at most {_LONGEST} letters, digits and "
            "- . _ ~ + / =, as `openssl rand -hex 32` makes it"
        )
    return token

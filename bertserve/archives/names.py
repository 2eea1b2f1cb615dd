"""Names and versions of models: they stand in URLs, file names, logs and metrics, and on terminals."""

from __future__ import annotations

import re

from ..errors import PackageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LONGEST = 100  # characters; a file is called NAME-VERSION.mar, and 255 is the most there


def check_name(what: str, value: object) -> str:
    """A name or a version as it is; PackageError where it will not do."""
    if not isinstance(value, str) or not _NAME.fullmatch(value) or ".." in value:
        raise PackageError(
            f"{what} {value!r} will not do: use letters, digits, '.', '_' and '-', not two dots "
            "together, and begin with a letter or a digit"
        )
    if len(value) > _LONGEST:
        raise PackageError(f"{what} has {len(value)} characters; use {_LONGEST} at most")
    return value

"""SHA-256 of every file of an archive, in the format of `sha256sum`, checked before anything loads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import LoadError

FILE_NAME = "SHA256SUMS"
_CACHE = re.compile(r"(?P<folder>(.*/)?)__pycache__/(?P<module>[^/.]+)\.[^/]*\.pyc(\.\d+)?")


def sha256(path: Path) -> str:
    """SHA-256 of one file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def compute(model_dir: Path) -> dict[str, str]:
    """SHA-256 of every file below `model_dir` but the checksum file itself, sorted by path."""
    paths = sorted(
        path.relative_to(model_dir).as_posix() for path in model_dir.rglob("*") if path.is_file()
    )
    return {path: sha256(model_dir / path) for path in paths if path != FILE_NAME}


def write(model_dir: Path) -> None:
    """Write the checksum file; `sha256sum -c SHA256SUMS` reads it too."""
    lines = [f"{digest}  {path}\n" for path, digest in compute(model_dir).items()]
    (model_dir / FILE_NAME).write_text("".join(lines), encoding="utf-8")


def unlisted(paths: Iterable[str], expected: Mapping[str, str]) -> list[str]:
    """Paths that have no checksum, but for Python's caches of modules that have one."""
    return sorted(
        path
        for path in paths
        if path not in expected and path != FILE_NAME and _cached_source(path) not in expected
    )


def _cached_source(path: str) -> str | None:
    """The module that a file is a cache of: handler/__pycache__/x.cpython-311.pyc of handler/x.py.

    While another worker writes it, and for good where that dies meanwhile, a number follows its name.
    """
    found = _CACHE.fullmatch(path)
    return f"{found['folder']}{found['module']}.py" if found else None


def parse(text: str) -> dict[str, str]:
    """Path → SHA-256 of a checksum file's text."""
    entries = (line.split("  ", 1) for line in text.splitlines())
    return {path: digest for digest, path in entries}


def verify(model_dir: Path) -> dict[str, str]:
    """Compare every listed file with its checksum; LoadError names the first that differs.

    Returns path → SHA-256. A file that was added is an error as well.
    """
    try:
        expected = parse((model_dir / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(
            f"the archive has no readable {FILE_NAME}; build it again with `bertserve package`"
        ) from error
    for path, digest in expected.items():
        try:
            actual = sha256(model_dir / path)
        except OSError as error:
            raise LoadError(
                f"{path} is missing from the archive; build or copy the archive again"
            ) from error
        if actual != digest:
            raise LoadError(
                f"{path} is damaged: its SHA-256 is {actual[:12]}…, {FILE_NAME} says "
                f"{digest[:12]}…; build or copy the archive again"
            )
    present = (path for path in model_dir.rglob("*") if not path.is_dir())
    if added := unlisted((path.relative_to(model_dir).as_posix() for path in present), expected):
        raise LoadError(f"{added[0]} was added to the archive; build or copy the archive again")
    return expected

"""An archive fetched from object storage or a web server, and taken only if it is the one that was meant.

fetch("s3://models/support-2.0.mar", sha256="9f86d0…", folder=Path("/models"))
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from ..errors import ConfigError, PackageError
from ..handler import checksums
from ..system import appearing

_CHUNK = 1 << 20
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)  # seconds without a byte
_AS_STORED = {"Accept-Encoding": "identity"}  # nobody need pack an archive again on the way
_NAME = re.compile(r"\w[\w.+-]*\.mar", re.ASCII)  # as archives are named; TorchServe takes no comma


def fetch(uri: str, sha256: str, folder: Path) -> Path:
    """Fetch an archive into a folder, where it appears under its name once it has that SHA-256.

    `uri` is http:// or https://, or what pyarrow's file systems read: s3://, gs://, abfss://, file://.
    One that is there already is not fetched again. ConfigError where the arguments are wrong,
    PackageError where the archive cannot be had or is another one.
    """
    wanted = sha256.lower()
    if not re.fullmatch("[0-9a-f]{64}", wanted):
        raise ConfigError(
            f"{sha256!r} is no SHA-256; give the 64 hexadecimal digits that `bertserve inspect` shows"
        )
    target = folder / _file_name(uri)
    if target.is_file() and checksums.sha256(target) == wanted:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with appearing(target) as partial, partial.open("wb") as file:
        found = hashlib.sha256()
        for chunk in _chunks(uri):
            found.update(chunk)
            file.write(chunk)
        if found.hexdigest() != wanted:
            raise PackageError(
                f"{shown(uri)} is another archive than was meant: its SHA-256 is {found.hexdigest()}, "
                f"not {wanted}; upload the right one, or correct the SHA-256"
            )
        file.flush()
        os.fsync(file.fileno())
    return target


def shown(uri: str) -> str:
    """An address without what may be secret: the query of a signed one, a password."""
    parts = _parts(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _parts(uri: str) -> SplitResult:
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise ConfigError(
            f"this is no address of an archive ({error}); write it as s3://BUCKET/NAME-VERSION.mar, or "
            "with gs:// or https://"
        ) from error


def _file_name(uri: str) -> str:
    parts = _parts(uri)
    name = unquote(parts.path).rpartition("/")[2]
    if not parts.scheme or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{shown(uri) if parts.scheme else uri} is no address of an archive; write it as "
            "s3://BUCKET/NAME-VERSION.mar, or with gs:// or https://"
        )
    return name


def _chunks(uri: str) -> Iterator[bytes]:
    is_web = _parts(uri).scheme in ("http", "https")
    return _from_the_web(uri) if is_web else _from_storage(uri)


def _from_the_web(uri: str) -> Iterator[bytes]:
    try:
        with httpx.stream(
            "GET", uri, headers=_AS_STORED, follow_redirects=True, timeout=_TIMEOUT
        ) as response:
            if not response.is_success:
                raise _unfetched(uri, f"the server answered {response.status_code}")
            yield from response.iter_bytes(_CHUNK)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unfetched(uri, str(error) or type(error).__name__) from error


def _from_storage(uri: str) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import fs

    try:
        system, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"{shown(uri)} is no address that pyarrow knows: {error}") from error
    try:
        with system.open_input_stream(path) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except (pa.ArrowException, OSError) as error:
        raise _unfetched(uri, str(error)) from error


def _unfetched(uri: str, reason: str) -> PackageError:
    return PackageError(
        f"{shown(uri)} cannot be fetched: {reason.strip().rstrip('.')}; look whether it is there, and "
        "whether this machine may read it"
    )

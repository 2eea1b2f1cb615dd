"""What is in an archive, whoever wrote it: read within bounds, or refused in a sentence.

    with open_archive(path) as contents:
        contents.names, contents.mapping("model/config.json")
    with unpacked(path, "score") as folder: ...

TorchServe unpacks a zip from its beginning, file by file; all others go by the directory at its end. An
archive in which the two differ would be one thing when it is looked at, another when it is served.
"""

from __future__ import annotations

import hashlib
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

import yaml

from ..errors import PackageError
from ..handler import checksums
from ..handler.errors import LoadError
from ..system import scratch_folder
from .names import check_name

MANIFEST = "MAR-INF/MANIFEST.json"
CONFIG = "model-config.yaml"

_LARGEST = 1 << 27  # bytes of a file that is read as a whole: the largest golden.json, ten times
_USUAL_RATIO, _USUAL_BYTES = 100, 1 << 30  # what is packed tighter, and larger, is no model
_DEEPEST = 32  # of YAML
_LOCAL = struct.Struct("<4s5H3L2H")  # the header before each file
_ENCRYPTED, _STREAMED, _IN_UTF8 = 0x1, 0x8, 0x800  # flags of a file
# bytes behind a file whose sizes stand there: with a signature or without, of 4 or 8 bytes each
_DESCRIPTORS = (12, 16, 20, 24)
_ZIP64 = 1  # the number of an extra field
# what the libraries raise of a file that is broken, or made to break them
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, yaml.YAMLError, EOFError, ValueError, KeyError,
    OverflowError, NotImplementedError, RecursionError, MemoryError, LoadError,
)  # fmt: skip


class Contents:
    """The files of an open archive; ValueError says what is wrong with one, see open_archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._files = {each.filename: each for each in archive.infolist() if not each.is_dir()}
        self.names = sorted(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self._files[name].file_size

    def read(self, name: str) -> bytes:
        """A whole file, unless it is far larger than any that is read as a whole."""
        if name not in self._files:
            raise ValueError(f"it has no {name}")
        if self.size(name) > _LARGEST:
            raise ValueError(f"{name} has {self.size(name):,} bytes, more than any of its kind")
        with self._archive.open(name) as file:
            return file.read(_LARGEST)

    def json(self, name: str) -> Any:
        """A file of JSON, without the numbers that JSON does not have."""
        return self._parsed(name, lambda read: json.loads(read, parse_constant=_no_number))

    def mapping(self, name: str) -> dict[str, Any]:
        """A file that holds an object, of JSON or YAML."""
        found = self._parsed(name, _yaml) if name.endswith(".yaml") else self.json(name)
        if not isinstance(found, dict):
            raise ValueError(f"{name} holds no object")
        return found

    def digests(self) -> dict[str, str]:
        """Path → SHA-256 of each file but the checksums; one that fails the zip's own check has none."""
        found = {}
        for name in self.names:
            digest = hashlib.sha256()
            try:
                with self._archive.open(name) as file:
                    while chunk := file.read(1 << 20):
                        digest.update(chunk)
            except (zipfile.BadZipFile, zlib.error, EOFError):
                continue
            found[name] = digest.hexdigest()
        found.pop(checksums.FILE_NAME, None)
        return found

    def expected(self) -> dict[str, str]:
        """Path → SHA-256 as the archive gives it."""
        return dict(
            self._parsed(checksums.FILE_NAME, lambda read: checksums.parse(read.decode("utf-8")))
        )

    def manifest(self) -> tuple[str, str]:
        """The name and the version that an archive is served under, of ours or of anybody's.

        ValueError where it is ours, and some file was added to it or is missing.
        """
        names = self.names_of_model()
        if checksums.FILE_NAME in self:
            self._check_listed()
        return names

    def names_of_model(self) -> tuple[str, str]:
        """The name and the version that its manifest gives it."""
        model = self.mapping(MANIFEST).get("model")
        if not isinstance(model, dict):
            raise ValueError(f"{MANIFEST} describes no model")
        name = check_name("name", model.get("modelName"))
        version = check_name("version", model.get("modelVersion"))
        if checksums.FILE_NAME in self and model.get("envelope"):
            raise ValueError(
                f"{MANIFEST} names an envelope; the handler reads every protocol itself"
            )
        return name, version

    def _parsed(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        content = self.read(name)
        try:
            return parse(content)
        except RecursionError:
            raise ValueError(f"{name} is nested too deeply") from None
        # the last four are PyYAML's, of values that do not fit their tags
        except (ValueError, yaml.YAMLError, LookupError, AttributeError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from error

    def _check_listed(self) -> None:
        expected = self.expected()
        present = {name for name in self.names if name != checksums.FILE_NAME}
        for name in sorted(present - expected.keys()):
            raise ValueError(f"{name} was added to it: it is not in {checksums.FILE_NAME}")
        for name in sorted(expected.keys() - present):
            raise ValueError(f"{name} is missing from it")


@contextmanager
def open_archive(path: Path) -> Iterator[Contents]:
    """The contents of an archive; PackageError, here and in the block, where they cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive)
            _check_places(archive)
            yield Contents(archive)
    except FileNotFoundError:
        raise PackageError(f"{path} does not exist") from None
    except OSError as error:
        raise PackageError(
            f"{path} cannot be read ({error.strerror or error}); is it an archive?"
        ) from error
    except PackageError as error:
        raise PackageError(f"{path}: {error}") from error
    except _BROKEN as error:
        raise PackageError(
            f"{path} is no archive of bertserve ({_reason(error)}); build it with `bertserve package`"
        ) from error


@contextmanager
def unpacked(path: Path, purpose: str) -> Iterator[Path]:
    """A folder with the files of an archive, while the block lasts."""
    with scratch_folder(purpose) as scratch:
        folder = scratch / "archive"  # beside what marks the other as ours
        with open_archive(path), zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        yield folder


def read_manifest(path: Path) -> tuple[str, str]:
    """The name and the version of an archive, of ours or of anybody's; PackageError where it has none."""
    with open_archive(path) as contents:
        return contents.manifest()


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (
        text
        if isinstance(error, ValueError | zipfile.BadZipFile) and text
        else (f"{type(error).__name__}: {text}" if text else type(error).__name__)
    )


def _yaml(content: bytes) -> Any:
    """YAML without aliases, a few of which stand for a thing of any size, and without a deep nesting."""
    depth = 0
    for event in yaml.parse(content, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has aliases, which no file of ours has")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecursionError
    return yaml.safe_load(content)


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:79]}…")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _check_entries(archive: zipfile.ZipFile) -> None:
    """ValueError names a file that cannot be in an archive."""
    seen: set[str] = set()
    unpacked_size = 0
    for each in archive.infolist():
        name = each.filename
        if problem := _problem(each):
            raise ValueError(f"{_quoted(name)} {problem}")
        if name.rstrip("/") in seen:
            raise ValueError(f"{_quoted(name)} is in it twice")
        seen.add(name.rstrip("/"))
        unpacked_size += each.file_size
    files = {each.filename for each in archive.infolist() if not each.is_dir()}
    for name in sorted(seen):
        for parent in PurePosixPath(name).parents:
            if str(parent) in files:
                raise ValueError(f"{_quoted(str(parent))} is a file and a folder in it")
    packed_size = sum(each.compress_size for each in archive.infolist())
    if unpacked_size > max(_USUAL_BYTES, _USUAL_RATIO * packed_size):
        raise ValueError(f"{packed_size:,} bytes would unpack to {unpacked_size:,}")


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry cannot be in an archive, if so."""
    name = entry.filename
    parts = name.removesuffix("/").split("/")
    if entry.orig_filename != name or not name.isprintable() or "\\" in name:
        return "has characters that no file of an archive has"
    if not name.isascii() and not entry.flag_bits & _IN_UTF8:
        return "is not named in UTF-8"
    if any(part in ("", ".", "..") for part in parts) or (parts[0][1:2] == ":"):
        return "leads out of the archive's folder"
    if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 1000:
        return "is too long a name"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is no file but a link or a device"
    streamed = entry.flag_bits & _STREAMED and entry.compress_type != zipfile.ZIP_DEFLATED
    if streamed or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that TorchServe cannot read"
    return None


def _check_places(archive: zipfile.ZipFile) -> None:
    """ValueError where the files, read from the beginning, are others than those of the directory."""
    file = archive.fp
    assert file is not None
    end = 0
    room: tuple[int, ...] = (0,)
    for each in sorted(archive.infolist(), key=lambda each: each.header_offset):
        if each.header_offset - end not in room:
            raise ValueError(f"there is something hidden before {_quoted(each.filename)}")
        file.seek(each.header_offset)
        fields = _LOCAL.unpack(file.read(_LOCAL.size))
        name_length, extra_length = fields[-2:]
        name = file.read(name_length)
        packed, size = _sizes(fields[7], fields[8], file.read(extra_length))
        streamed = each.flag_bits & _STREAMED
        same = streamed or (packed, size) == (each.compress_size, each.file_size)
        same = same and name == each.filename.encode()
        if not same or fields[2:4] != (each.flag_bits, each.compress_type):
            raise ValueError(f"{_quoted(each.filename)} is described twice, and differently")
        if streamed and not _ends_with_its_data(file, each.compress_size):
            raise ValueError(f"there is something hidden in {_quoted(each.filename)}")
        end = each.header_offset + _LOCAL.size + name_length + extra_length + each.compress_size
        room = _DESCRIPTORS if streamed else (0,)
    if archive.start_dir - end not in room:
        raise ValueError("there is something hidden behind its files")


def _ends_with_its_data(file: IO[bytes], packed: int) -> bool:
    """Whether packed bytes end where the directory says; TorchServe reads on where they really do."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    while packed and not unpacker.eof:
        chunk = file.read(min(packed, 1 << 16))
        if not chunk:
            return False
        packed -= len(chunk)
        unpacker.decompress(chunk)
    return unpacker.eof and not unpacker.unused_data and not packed


def _sizes(packed: int, size: int, extra: bytes) -> tuple[int, int]:
    """Sizes from a header; those of large files stand in an extra field."""
    while len(extra) >= 4 and 0xFFFFFFFF in (packed, size):
        number, length = struct.unpack("<HH", extra[:4])
        if number == _ZIP64 and length >= 16:
            size, packed = struct.unpack("<QQ", extra[4:20])
            break
        extra = extra[4 + length :]
    return packed, size

"""What is to be scored, in parts: rows of one file each, which are read, scored and written as one.

    source = Source.of("tickets/*.parquet")
    for part in find_parts(source, columns, rows=100_000): read_part(source, part, columns)

A file of Parquet is parted by its row groups, one of lines where a row ends, so that a giant file is many
parts; what is compressed is read from its beginning for each of them.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs, parquet

from ..errors import ConfigError
from .columns import Problems, holds_texts
from .lines import COMPRESSED, Columns, Lines, Unreadable, header, spans, table_of, unpacked_name

_PARQUET = (".parquet", ".pq")
_LINES = (".csv", ".tsv", ".jsonl", ".ndjson")
_WILD = "*?["
_LONGEST_NAME = 120  # bytes
ASIDE = "_bertserve"  # in a folder of results; by its underscore left out by whoever reads that


@dataclass(frozen=True)
class Part:
    """Rows of one file.

    path     in its file system
    name     what the file of its results is called, without an ending
    file     digest of the file's size and time
    first    number of its first row in the file, from 0
    rows     how many there are
    span     of lines: its first byte and the one after its last, unpacked
    """

    path: str
    name: str
    file: str
    first: int
    rows: int
    span: tuple[int, int] = (0, 0)

    @property
    def full_name(self) -> str:
        """What its results are called."""
        return f"{self.name}.{self.first:010d}-{self.first + self.rows:010d}.{self.file}"

    def as_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


@dataclass(frozen=True)
class Source:
    """Files of one file system, and the folder that their names are told from."""

    system: fs.FileSystem
    files: list[fs.FileInfo]
    folder: str
    left_out: int = 0

    @classmethod
    def of(cls, where: str, besides: str = "") -> Source:
        """The files of a file, a folder, or a glob, here or by URI; ConfigError where there are none.

        besides   a folder whose files are not meant, that of the results
        """
        system, path = file_system(where)
        fixed, wild = (path, "") if _is(system, path, fs.FileType.File) else _parted(path)
        infos = (
            _listed(system, fixed)
            if wild or _is(system, fixed, fs.FileType.Directory)
            else _one(system, fixed, where)
        )
        if wild:
            infos = [each for each in infos if _matches(each.path, path)]
        real = os.path.realpath if isinstance(system, fs.LocalFileSystem) else str
        # links may lead to a file by many ways: the first one counts
        found = {real(each.path): each for each in reversed(_sorted(infos))}
        beneath = real(file_system(besides)[1]).rstrip("/") + "/" if besides else None
        infos = [each for path, each in found.items() if not (beneath and path.startswith(beneath))]
        known = [each for each in infos if _kind(each.path)]
        if not known:
            raise ConfigError(
                f"{where} names no file that can be scored: give .parquet, .csv, .tsv or .jsonl, the "
                "last three with .gz or .zst too, or a folder of them"
            )
        alone = len(known) == 1 and known[0].path == fixed
        folder = fixed.rpartition("/")[0] if alone else fixed.rstrip("/")
        return cls(system, _sorted(known), folder, len(infos) - len(known))


def file_system(where: str) -> tuple[fs.FileSystem, str]:
    """The file system that a path or an URI is of, and the path in it."""
    if "://" not in where:
        try:
            return fs.LocalFileSystem(), os.path.normpath(Path(where).expanduser().absolute())
        except RuntimeError as error:  # nobody is called so
            raise ConfigError(f"{where} does not exist: {error}") from error
    try:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(where)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"{where} is no address that pyarrow knows: {error}") from error
    return found


def find_parts(source: Source, columns: Columns, rows: int) -> Iterator[list[Part] | Unreadable]:
    """The parts of each file, of so many rows or fewer; Unreadable in the place of a file that is not."""
    for info in source.files:
        try:
            yield _parts(source, info, columns, rows)
        except (pa.ArrowException, OSError, EOFError) as error:
            yield _unreadable(info.path, error)
        except Unreadable as error:
            yield error


def read_part(system: fs.FileSystem, part: Part, columns: Columns) -> tuple[pa.Table, Problems]:
    """The columns that are wanted of a part, and what is wrong with rows of it; Unreadable if all is."""
    try:
        if _kind(part.path) in _PARQUET:
            table = columns.cast(_read_groups(system, part, columns), part.path)
            for name in columns.texts(table.column_names):
                if not holds_texts(kind := table.schema.field(name).type):
                    raise Unreadable(
                        f"{part.path}: column {name} holds {kind}; choose one that holds texts"
                    )
            return table, {}
        with _lines(system, part.path) as lines:
            names = header(lines, columns, part.path)
            table, problems = table_of(lines.between(*part.span), names, columns, part.path)
            return columns.cast(table, part.path), problems
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _unreadable(part.path, error) from error


def _unreadable(path: str, error: Exception) -> Unreadable:
    return Unreadable(f"{path} cannot be read: {' '.join(str(error).split())}")


def _parts(source: Source, info: fs.FileInfo, columns: Columns, rows: int) -> list[Part]:
    below = info.path.removeprefix(source.folder).strip("/")
    told = below.replace("/", "--")
    is_long = len(told.encode()) > _LONGEST_NAME
    if (
        is_long or "--" in below or told.startswith((".", "_"))
    ):  # so that no two are called the same
        short = told.lstrip("._").encode()[:_LONGEST_NAME].decode(errors="ignore")
        told = f"{short}-{hashlib.sha256(below.encode()).hexdigest()[:12]}"
    digest = hashlib.sha256(f"{below}\0{info.size}\0{info.mtime_ns}".encode()).hexdigest()
    if _kind(info.path) in _PARQUET:
        with source.system.open_input_file(info.path) as file:
            found = parquet.ParquetFile(file)
            columns.wanted(found.schema_arrow.names, info.path)
            total = found.metadata.num_rows
        counts = [min(rows, total - first) for first in range(0, total, rows)]
        return [
            Part(info.path, told, digest[:8], number * rows, count)
            for number, count in enumerate(counts)
        ]
    with _lines(source.system, info.path) as lines:
        header(lines, columns, info.path)
        return [
            Part(info.path, told, digest[:8], first, count, span)
            for first, count, span in spans(lines, info.path, rows)
        ]


def _read_groups(system: fs.FileSystem, part: Part, columns: Columns) -> pa.Table:
    with system.open_input_file(part.path) as opened:
        file = parquet.ParquetFile(opened)
        names = columns.wanted(file.schema_arrow.names, part.path)
        groups: list[int] = []
        before = end = 0
        for number in range(file.metadata.num_row_groups):
            start, end = end, end + file.metadata.row_group(number).num_rows
            if end > part.first and start < part.first + part.rows:
                before = start if not groups else before
                groups.append(number)
        table = file.read_row_groups(groups, columns=names)
    return table.select(names).slice(part.first - before, part.rows)


def _lines(system: fs.FileSystem, path: str) -> Lines:
    packed = COMPRESSED.get("." + path.rpartition(".")[2].lower())
    if packed:
        return Lines(system.open_input_stream(path, compression=packed), seekable=False)
    return Lines(system.open_input_file(path), seekable=True)


def _kind(path: str) -> str:
    """The ending that says how a file is read, without that of a compression; empty if there is none."""
    name = unpacked_name(path)
    is_packed = name != path.rpartition("/")[2].lower()
    known = _LINES if is_packed else (*_PARQUET, *_LINES)
    return next(filter(name.endswith, known), "")


def _parted(path: str) -> tuple[str, str]:
    """A path before the first part with a wildcard, and the rest."""
    places = [path.index(each) for each in _WILD if each in path]
    if not places:
        return path, ""
    fixed = path[: min(places)].rpartition("/")[0]
    return fixed, path[len(fixed) :]


def _matches(path: str, pattern: str) -> bool:
    """Whether a path is one of a glob: * is of one folder, ** of any."""
    ours, theirs = path.split("/"), pattern.split("/")

    def match(names: Sequence[str], patterns: Sequence[str]) -> bool:
        if not patterns:
            return not names
        if patterns[0] == "**":
            return match(names, patterns[1:]) or (bool(names) and match(names[1:], patterns))
        return (
            bool(names)
            and fnmatch.fnmatchcase(names[0], patterns[0])
            and match(names[1:], patterns[1:])
        )

    return match(ours, theirs)


def _is(system: fs.FileSystem, path: str, kind: fs.FileType) -> bool:
    return bool(system.get_file_info(path).type == kind)


def _sorted(infos: Iterable[fs.FileInfo]) -> list[fs.FileInfo]:
    return sorted(infos, key=lambda each: each.path)


def _one(system: fs.FileSystem, path: str, where: str) -> list[fs.FileInfo]:
    info = system.get_file_info(path)
    if info.type != fs.FileType.File:
        raise ConfigError(f"{where} does not exist")
    return [info]


def _listed(system: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    """The files of a folder and of those in it, but for what is hidden by its name, as Spark has it.

    Results of a job in a folder below are no data.
    """
    selector = fs.FileSelector(folder, recursive=True, allow_not_found=True)
    try:
        found = [(each, each.path) for each in system.get_file_info(selector)]
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"a file in {folder} has a name that is not UTF-8 ({error.object!r}); rename it"
        ) from error
    of_results = {path.rpartition("/")[0] for each, path in found if each.base_name == ASIDE} - {
        folder.rstrip("/")
    }
    return [
        each
        for each, path in found
        if each.type == fs.FileType.File
        and path.rpartition("/")[0] not in of_results
        and not any(
            name.startswith((".", "_"))
            for name in each.path.removeprefix(folder).strip("/").split("/")
        )
    ]

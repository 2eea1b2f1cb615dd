"""Tables of CSV and JSON lines, read as `bertserve predict --file` reads them, from any part of a file.

What cannot be read in one row is an error of that row. What is kept of CSV are strings, for it has no
types.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from ..clients import LONGEST_FIELD, PAIR_COLUMN, refuse_constant
from ..errors import BertserveError

_MARK = b"\xef\xbb\xbf"
_CHUNK = 1 << 20  # bytes
_LARGEST = 1 << 26  # bytes of a part
_LOOKED_AT = 10_000  # first rows, from which types of JSON are taken
_JSON = (".jsonl", ".ndjson")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # bytes that were escaped
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}

csv.field_size_limit(LONGEST_FIELD)


class Unreadable(BertserveError):
    """A file, or a part of one, cannot be read; the others can."""


@dataclass(frozen=True)
class Columns:
    """What is read of a file.

    text, pair   columns of the texts; `text_pair`, if there is such a column, where `pair` is None
    keep         further columns, and `types` of them once these are known
    """

    text: str = "text"
    pair: str | None = None
    keep: tuple[str, ...] = ()
    types: pa.Schema | None = None

    def texts(self, names: Sequence[str]) -> list[str]:
        """Those that hold the texts, one or two, of a file that has such."""
        pair = self.pair or (PAIR_COLUMN if PAIR_COLUMN in names else None)
        return list(dict.fromkeys(filter(None, (self.text, pair))))

    def wanted(self, names: Sequence[str], path: str) -> list[str]:
        """The columns to read of a file that has such; Unreadable where one is missing."""
        texts = self.texts(names)
        found = list(dict.fromkeys((*texts, *self.keep)))
        for each in found:
            if names.count(each) > 1:
                raise Unreadable(
                    f"{path} has {names.count(each)} columns {each}; rename all but one"
                )
            if each not in names:
                option = "--keep" if each in self.keep else "--column"
                option = "--pair-column" if each in texts[1:] and each not in self.keep else option
                raise Unreadable(
                    f"{path} has no column {each}, only {', '.join(names)}; choose with {option}"
                )
        return found

    def type_of(self, name: str) -> pa.DataType | None:
        """The type of a kept column, once that is known."""
        fields = {field.name: field.type for field in self.types or ()}
        return fields.get(name)

    def typed(self, table: pa.Table) -> Columns:
        """The same with the types that a first table has, where they are not known yet."""
        fields = [table.schema.field(each) for each in self.keep]
        known = {each.name: each for each in self.types or () if not pa.types.is_null(each.type)}
        return replace(self, types=pa.schema([known.get(each.name, each) for each in fields]))

    def cast(self, table: pa.Table, path: str) -> pa.Table:
        """A table whose kept columns have the types of the others; Unreadable where they cannot."""
        texts = self.texts(table.column_names)
        for field in self.types or ():
            is_same = table.schema.field(field.name).type == field.type
            if is_same or field.name in texts or pa.types.is_null(field.type):
                continue
            try:
                column = table[field.name].cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                said = " ".join(str(error).split())
                raise Unreadable(
                    f"{path}: column {field.name} was {field.type} in the first file: {said}"
                ) from error
            place = table.column_names.index(field.name)
            table = table.set_column(place, field.name, column)
        return table


TEXT = Columns()


class Lines:
    """The lines of an open file; `place` is how many of its bytes were read."""

    def __init__(self, file: pa.NativeFile, *, seekable: bool) -> None:
        self._file = file
        self._seekable = seekable
        self._buffered = io.BufferedReader(file, _CHUNK)
        self.place = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[str]:
        for line in self._buffered:
            at_start = self.place == 0
            self.place += len(line)
            yield _decoded(line.removeprefix(_MARK) if at_start else line)

    def between(self, start: int, end: int) -> Iterator[str]:
        """The lines from one byte to another one."""
        if self._seekable:
            self._buffered.seek(start)
        else:
            while self.place < start:
                self.place += len(self._buffered.read(min(_CHUNK, start - self.place)))
        content = self._buffered.read(end - start)
        if len(content) < end - start:
            raise EOFError("it has become shorter")
        content = content.removeprefix(_MARK) if start == 0 else content
        return map(_decoded, io.BytesIO(content))


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def header(lines: Lines, columns: Columns, path: str) -> list[str]:
    """The columns of a file at its beginning; none where it is JSON lines."""
    if _is_json(path):
        return []
    try:
        names: list[str] = next(filter(None, _reader(lines, path)), [])
    except csv.Error as error:
        raise Unreadable(f"{path}, line 1: {error}") from error
    if not names:
        raise Unreadable(f"{path} is empty; its first line must name its columns")
    columns.wanted(names, path)
    return names


def spans(lines: Lines, path: str, rows: int) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """First row, rows, and the bytes from and to, of each part of what is left of a file."""
    first = count = 0
    start = end = lines.place
    for is_row in _rows(lines, path):
        if is_row and (count == rows or (count and lines.place - start > _LARGEST)):
            yield first, count, (start, end)
            first, count, start = first + count, 0, end
        count += is_row
        end = lines.place
    if count:
        yield first, count, (start, end)


def _rows(lines: Lines, path: str) -> Iterator[bool]:
    """Whether it is one, for each row and each blank line."""
    if _is_json(path):
        yield from (bool(line.strip()) for line in lines)
        return
    for _, cells in _records(lines, path):
        yield cells is None or bool(cells)


def _records(lines: Iterable[str], path: str) -> Iterator[tuple[str, list[str] | None]]:
    """What is wrong, or nothing, and the cells of each row; Unreadable where a quote is not closed."""
    reader = _reader(lines, path)
    before = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num - before > 1:
                raise Unreadable(
                    f"{path}: the quotes of {reader.line_num - before} lines do not fit together "
                    f'({error}); put " around a text, and write it twice in it'
                ) from error
            yield str(error), None
        else:
            yield "", cells
        before = reader.line_num


def table_of(
    lines: Iterable[str], names: Sequence[str], columns: Columns, path: str
) -> tuple[pa.Table, dict[int, tuple[str, str]]]:
    """The rows of some lines, and what is wrong with some of them."""
    problems: dict[int, tuple[str, str]] = {}
    if _is_json(path):
        rows = list(_objects(lines, problems))
        seen = dict.fromkeys(name for row in rows for name in row)
        # a row need not have what is kept, but some must
        known = dict.fromkeys(columns.keep if columns.types is not None or not rows else ())
        wanted = columns.wanted(list({**seen, **known}), path)
    else:
        rows = list(_named(lines, names, problems, path))
        wanted = columns.wanted(names, path)
    texts = columns.texts(list(seen) if _is_json(path) else names)
    found = {name: [row.get(name) for row in rows] for name in wanted}
    arrays = {}
    for name, values in found.items():
        if name in texts:
            values = [_checked(value, name, row, problems) for row, value in enumerate(values)]
        kind = pa.string()
        if _is_json(path):
            kind = columns.type_of(name) or _kind_of(values[:_LOOKED_AT])
        for row, value in enumerate(values):
            if isinstance(value, str) and _NOT_UTF8.search(value):
                problems.setdefault(row, ("invalid_utf8", f"{name} is not UTF-8; convert it"))
        arrays[name] = _array(values, name, kind, path)
    return pa.table(arrays), problems


def _objects(
    lines: Iterable[str], problems: dict[int, tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    row = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=refuse_constant)
            if not isinstance(value, dict):
                raise ValueError("write an object")
        except (ValueError, RecursionError) as error:
            problems[row] = ("invalid_json", f"the line is not JSON: {error}")
            value = {}
        yield value
        row += 1


def _named(
    lines: Iterable[str], names: Sequence[str], problems: dict[int, tuple[str, str]], path: str
) -> Iterator[dict[str, str]]:
    row = 0
    for error, cells in _records(lines, path):
        if cells is not None and not cells:
            continue
        if cells is None:
            problems[row] = ("invalid_csv", f"the line is no row of CSV: {error}")
        elif len(cells) > len(names):
            problems[row] = (
                "invalid_csv",
                f'the row has {len(cells)} cells, and the header {len(names)}; put " around a text '
                "with a comma in it",
            )
        yield dict(zip(names, cells or (), strict=False))
        row += 1


def _checked(value: Any, name: str, row: int, problems: dict[int, tuple[str, str]]) -> str | None:
    """A text, or None where it is none."""
    if value is None:
        return None
    if not isinstance(value, str):
        problems.setdefault(row, ("invalid_type", f"there is no text in {name}"))
        return None
    if _SURROGATE.search(value):
        problems.setdefault(row, ("invalid_utf8", f"the text in {name} is not UTF-8; convert it"))
        return None
    return value


def _array(values: list[Any], name: str, kind: pa.DataType, path: str) -> pa.Array:
    """A column; strings alone may hold values of many types, as JSON."""
    if kind == pa.string():
        values = [_as_string(value) for value in values]
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        said = " ".join(str(error).split())
        raise Unreadable(f"{path}: column {name} was {kind} in the first rows: {said}") from error


def _kind_of(values: Sequence[Any]) -> pa.DataType:
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {int, float}:
        if float in kinds:
            return pa.float64()
        is_small = all(-(2**63) <= value < 2**63 for value in values if value is not None)
        return pa.int64() if is_small else pa.string()
    return pa.bool_() if kinds == {bool} else pa.string()


def _as_string(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _reader(lines: Iterable[str], path: str) -> Any:
    return csv.reader(
        lines, delimiter="\t" if unpacked_name(path).endswith(".tsv") else ",", strict=True
    )


def _is_json(path: str) -> bool:
    return unpacked_name(path).endswith(_JSON)


def unpacked_name(path: str) -> str:
    """The name of a file in lower case, without the ending of a compression."""
    name = path.lower().rpartition("/")[2]
    packed = next(filter(name.endswith, COMPRESSED), "")
    return name.removesuffix(packed)

"""Texts from files, one at a time, however long the file is.

    for row in read_rows(file, "questions.csv", column="question", keep=["id"]): ...

A row without a text is no reason to stop: it has an error in the place of its text.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NoReturn

from .errors import ConfigError, TextError
from .results import Input, Pair

LONGEST_FIELD = 10_000_000
_OTHER_SEPARATOR = re.compile(r"[;\t|]")
PAIR_COLUMN = "text_pair"  # of second texts, as the wire calls them
_LOOKED_AT = 10_000  # first rows of JSON lines, which together show what columns there are
_KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


@dataclass(frozen=True)
class Row:
    """One text to classify, or why there is none, and what else of its row is wanted.

    text    the text, the pair, or a TextError
    shown   what stands in the file for it, `text` and perhaps `text_pair`
    kept    other columns of the row
    """

    text: Input | TextError
    shown: Mapping[str, Any]
    kept: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""


def row_of(text: Input) -> Row:
    """The row of a text that is in no file."""
    if isinstance(text, Pair):
        return Row(text, {"text": text.text, "text_pair": text.text_pair})
    return Row(text, {"text": text})


def read_texts(
    lines: Iterable[str], name: str, column: str | None = None, pair_column: str | None = None
) -> Iterator[Input]:
    """The texts alone, see `read_rows`; ConfigError names the line that has none."""
    for row in read_rows(lines, name, column, pair_column):
        if isinstance(row.text, TextError):
            raise ConfigError(f"{row.place}: {row.text}; choose with --column")
        yield row.text


def read_rows(
    lines: Iterable[str],
    name: str,
    column: str | None = None,
    pair_column: str | None = None,
    keep: Sequence[str] = (),
) -> Iterator[Row]:
    """The rows of an open file, read by its name: .csv, .tsv, .jsonl, or a text a line.

    column, pair_column   where the texts stand in a table; the first is `text`, or the only column there
                          is, if not given; the second `text_pair`, where there is one
    keep                  further columns; what a row of JSON lacks is None

    ConfigError says what is wrong with the file; blank lines of a text a line are left out.
    """
    lines = _without_mark(lines)
    try:
        if name.endswith((".csv", ".tsv")):
            yield from _read_csv(lines, name, column, pair_column, keep)
        elif name.endswith((".jsonl", ".ndjson")):
            yield from _read_jsonl(lines, name, column or "text", pair_column, keep)
        elif column or pair_column or keep:
            raise ConfigError(f"{name} is read as a text a line; columns need .csv, .tsv or .jsonl")
        else:
            yield from (row_of(line.rstrip("\r\n")) for line in lines if line.strip())
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{name} cannot be read as UTF-8 text: {error}") from error


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    """The lines without the byte order mark that some programs put before the first."""
    for number, line in enumerate(lines):
        yield line.removeprefix("\ufeff") if number == 0 else line


def _read_csv(
    lines: Iterable[str],
    name: str,
    column: str | None,
    pair_column: str | None,
    keep: Sequence[str],
) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_FIELD)
    cells = csv.reader(lines, delimiter="\t" if name.endswith(".tsv") else ",", strict=True)
    columns = next((found for found in cells if found), [])
    if not columns:
        raise ConfigError(f"{name} is empty; its first line must name its columns")
    if len(columns) == 1 and column is None and (other := _OTHER_SEPARATOR.search(columns[0])):
        raise ConfigError(
            f"{name} seems to have columns that {other[0]!r} stands between, in its first line; write "
            "commas there, or tabs and call it .tsv, or name its one column with --column"
        )
    column = column or (columns[0] if len(columns) == 1 else "text")
    if pair_column is None and PAIR_COLUMN in columns and column != PAIR_COLUMN:
        pair_column = PAIR_COLUMN
    _check_columns(name, columns, column, pair_column, keep)
    # places of lines that may be rows of one empty cell, or the end of the file
    blank: list[str] = []
    for found in cells:
        place = f"{name}, line {cells.line_num}"
        if not found:
            blank += [place] if len(columns) == 1 else []
            continue
        yield from (_row({column: ""}, column, None, keep, each) for each in blank)
        blank.clear()
        yield _row(dict(zip(columns, found, strict=False)), column, pair_column, keep, place)


def _read_jsonl(
    lines: Iterable[str], name: str, column: str, pair_column: str | None, keep: Sequence[str]
) -> Iterator[Row]:
    values = _values(lines, name)
    first = list(islice(values, _LOOKED_AT))
    objects = [value for value, _ in first if isinstance(value, dict)]
    if objects or keep:
        where = f"{name}, in its first {_LOOKED_AT:,} rows," if len(first) == _LOOKED_AT else name
        _check_columns(where, list(dict.fromkeys(chain(*objects))), column, pair_column, keep)
    for value, place in chain(first, values):
        if isinstance(value, dict):
            second = PAIR_COLUMN if value.get(PAIR_COLUMN) is not None else None
            if column == PAIR_COLUMN:
                second = None
            yield _row(value, column, pair_column or second, keep, place)
        elif value is None or (isinstance(value, str) and pair_column is None):
            yield _row({column: value}, column, pair_column, keep, place)
        else:
            raise ConfigError(f"{place}: write an object or a text")


def _values(lines: Iterable[str], name: str) -> Iterator[tuple[Any, str]]:
    """What each line holds, and its place."""
    for number, line in enumerate(lines, start=1):
        place = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            yield json.loads(line, parse_constant=refuse_constant), place
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{place}: this is not JSON ({error})") from error


def refuse_constant(text: str) -> NoReturn:
    """ValueError for what JSON does not have, though Python reads it: NaN and the infinities."""
    raise ValueError(f"{text} is no number of JSON")


def _check_columns(
    name: str, columns: Sequence[str], column: str, pair_column: str | None, keep: Sequence[str]
) -> None:
    wanted = [(column, "--column"), (pair_column, "--pair-column"), *((k, "--keep") for k in keep)]
    for each, option in wanted:
        if each is None or each in columns:
            continue
        or_rename = ", or name the one with the texts `text`" if option == "--column" else ""
        raise ConfigError(
            f"{name} has no column {each}, only {', '.join(columns) or 'texts'}; choose with "
            f"{option}{or_rename}"
        )


def _row(
    found: Mapping[str, Any], column: str, pair_column: str | None, keep: Sequence[str], place: str
) -> Row:
    shown = {"text": found.get(column)}
    if pair_column is not None:
        shown["text_pair"] = found.get(pair_column)
    kept = {each: found.get(each) for each in keep}
    for wanted in filter(None, (column, pair_column)):
        if not isinstance(value := found.get(wanted), str):
            return Row(_no_text(value, wanted), shown, kept, place)
    text: str = found[column]
    return Row(text if pair_column is None else Pair(text, found[pair_column]), shown, kept, place)


def _no_text(value: Any, column: str) -> TextError:
    if value is None:
        return TextError("missing_text", f"there is no text in {column}")
    return TextError("invalid_type", f"there is no text in {column}, but {_KINDS[type(value)]}")

"""Texts from files, and results to files: one at a time, however long the file is."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from .errors import ConfigError, TextError
from .results import Input, Pair, Prediction

LONGEST_FIELD = 10_000_000
PAIR_COLUMN = "text_pair"  # of second texts, as the wire calls them
# what details add to a row
_DETAILS = (
    "labels", "set", "set_coverage", "margin", "entropy", "calibrated", "logits", "tokens", "truncated",
    "chunks", "model", "version",
)  # fmt: skip
_CSV_COLUMNS = (
    "text", "text_pair", "label", "probability", "probabilities", *_DETAILS, "error",
)  # fmt: skip

Result = Prediction | TextError


def read_texts(
    lines: Iterable[str], name: str, column: str | None = None, pair_column: str | None = None
) -> Iterator[Input]:
    """The texts of an open file; how it is read follows from its name: .csv, .jsonl, or a text a line.

    column, pair_column   where the texts stand in a .csv or .jsonl file; the first is `text`, or the only
                          column there is, if not given; the second `text_pair`, where there is one
    """
    lines = _without_mark(lines)
    try:
        if name.endswith((".csv", ".tsv")):
            yield from _read_csv(lines, name, column, pair_column)
        elif name.endswith((".jsonl", ".ndjson")):
            yield from _read_jsonl(lines, name, column or "text", pair_column)
        elif column or pair_column:
            raise ConfigError(f"{name} is read as a text a line; columns need .csv or .jsonl")
        else:
            yield from (line.rstrip("\r\n") for line in lines if line.strip())
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{name} cannot be read as UTF-8 text: {error}") from error


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    """The lines without the byte order mark that some programs put before the first."""
    for number, line in enumerate(lines):
        yield line.removeprefix("\ufeff") if number == 0 else line


def _read_csv(
    lines: Iterable[str], name: str, column: str | None, pair_column: str | None
) -> Iterator[Input]:
    csv.field_size_limit(LONGEST_FIELD)
    rows = csv.DictReader(lines, delimiter="\t" if name.endswith(".tsv") else ",")
    columns = list(rows.fieldnames or ())
    if not columns:
        raise ConfigError(f"{name} is empty; its first line must name its columns")
    column = column or (columns[0] if len(columns) == 1 else "text")
    if pair_column is None and PAIR_COLUMN in columns and column != PAIR_COLUMN:
        pair_column = PAIR_COLUMN
    for wanted in filter(None, (column, pair_column)):
        if wanted not in columns:
            raise ConfigError(
                f"{name} has no column {wanted}, only {', '.join(columns)}; choose with --column, "
                f"or name the one with the texts `text`"
            )
    for row in rows:
        yield _input(row, column, pair_column, f"{name}, line {rows.line_num}")


def _read_jsonl(
    lines: Iterable[str], name: str, column: str, pair_column: str | None
) -> Iterator[Input]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{name}, line {number}: this is not JSON ({error})") from error
        if isinstance(value, str) and pair_column is None:
            yield value
        elif isinstance(value, dict):
            second = PAIR_COLUMN if value.get(PAIR_COLUMN) is not None else None
            if column == PAIR_COLUMN:
                second = None
            yield _input(value, column, pair_column or second, f"{name}, line {number}")
        else:
            raise ConfigError(f"{name}, line {number}: write an object or a text")


def _input(row: dict[str, Any], column: str, pair_column: str | None, place: str) -> Input:
    for wanted in filter(None, (column, pair_column)):
        if not isinstance(row.get(wanted), str):
            raise ConfigError(f"{place}: there is no text in {wanted}; choose with --column")
    return row[column] if pair_column is None else Pair(row[column], row[pair_column])


def write_json(results: Iterable[tuple[Input, Result]], out: TextIO) -> None:
    """One list of objects."""
    opened = False
    try:
        for text, result in results:
            out.write((",\n" if opened else "[\n") + _indented(as_row(text, result)))
            opened = True
    finally:  # also where the rest cannot be had: what there is can be read
        if opened:
            out.write("\n]\n")
    if not opened:
        out.write("[]\n")


def write_jsonl(results: Iterable[tuple[Input, Result]], out: TextIO) -> None:
    """An object a line."""
    for text, result in results:
        out.write(json.dumps(as_row(text, result), ensure_ascii=False) + "\n")


def write_csv(results: Iterable[tuple[Input, Result]], out: TextIO) -> None:
    """A line a text, always with the same columns; maps and errors are JSON in their cell."""
    writer = csv.DictWriter(out, _CSV_COLUMNS)
    writer.writeheader()
    for text, result in results:
        writer.writerow({key: _cell(value) for key, value in as_row(text, result).items()})


def as_row(text: Input, result: Result) -> dict[str, Any]:
    """A text and its result as an object."""
    row: dict[str, Any] = {"text": text}
    if isinstance(text, Pair):
        row = {"text": text.text, "text_pair": text.text_pair}
    if isinstance(result, TextError):
        return {**row, "error": {"code": result.code, "message": result.message, **result.fields}}
    row |= {
        "label": result.label,
        "probability": result.probability,
        "probabilities": dict(result.probabilities),
    }
    if result.logits is not None:
        found = ((name, getattr(result, name)) for name in _DETAILS)
        row |= {name: value for name, value in found if value is not None}
    return row


def _indented(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False, indent=2)
    return "\n".join(f"  {line}" for line in text.splitlines())


def _cell(value: Any) -> Any:
    is_json = isinstance(value, dict | list | tuple)
    return json.dumps(value, ensure_ascii=False) if is_json else value

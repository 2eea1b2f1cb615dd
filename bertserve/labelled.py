"""Texts with their right labels, from CSV, JSON lines or Parquet.

    read_labelled(Path("test.csv"), labels, columns=Columns(label="category"))

A label is its name, or its number in the order of the model's outputs. Where labels are independent a
row has any number of them: a list in JSON lines and Parquet, and in CSV names between `|`. Or each label
has a column of its own, with 1 for the texts that have it and 0 for the others.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError
from .files import LONGEST_FIELD, PAIR_COLUMN, refuse_constant
from .results import Input, Pair

_LABEL_COLUMNS = ("label", "labels", "category", "intent", "class", "target")
_ONE_HOT = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_LONGEST_NUMBER = 10  # digits
_LONGEST_SHOWN = 60  # characters


@dataclass(frozen=True)
class Columns:
    """Where things stand in a file.

    None: second texts in `text_pair`, if there is such a column; labels in `label`, `category` or the
    like, or where there is none in a column for each. `separator` stands between several labels.
    """

    text: str = "text"
    pair: str | None = None
    label: str | None = None
    separator: str = "|"


@dataclass(frozen=True)
class Labelled:
    """Texts and their right labels, bool [texts, labels]; exactly one a row unless independent."""

    texts: list[Input]
    right: NDArray[np.bool_]
    source: str
    sha256: str

    @property
    def pairs(self) -> bool:
        """Whether every text has a second one."""
        return all(isinstance(text, Pair) for text in self.texts)

    @property
    def indices(self) -> NDArray[np.intp]:
        """The one right label of each text, [texts]."""
        return np.asarray(self.right.argmax(axis=1))

    def part(self, rows: NDArray[np.intp]) -> Labelled:
        """Some of the rows."""
        texts = [self.texts[row] for row in rows]
        return Labelled(texts, self.right[rows], self.source, self.sha256)


def read_labelled(
    path: Path,
    labels: Sequence[str],
    *,
    independent: bool = False,
    columns: Columns = Columns(),
) -> Labelled:
    """Read a file; ConfigError names the line that is wrong.

    labels         names in the order of the model's outputs
    independent    whether a text may have any number of labels, none too
    """
    try:
        rows = list(_rows(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as texts with labels: {error}") from error
    if not rows:
        raise ConfigError(f"{path} holds no texts; give a file with some")
    # of all rows: one of JSON need not have every column
    names = list(dict.fromkeys(name for _, row in rows for name in row if name is not None))
    read = _reader(path, names, labels, independent, columns)
    texts: list[Input] = []
    right = np.zeros((len(rows), len(labels)), dtype=bool)
    for index, (place, row) in enumerate(rows):
        text, found = read(row, place)
        if not independent and len(found) != 1:
            raise ConfigError(f"{place}: a text has one label here, not {len(found)}")
        texts.append(text)
        right[index, found] = True
    return Labelled(texts, right, path.name, digest)


def _reader(
    path: Path, names: Sequence[str], labels: Sequence[str], independent: bool, columns: Columns
) -> Callable[[Mapping[str, Any], str], tuple[Input, list[int]]]:
    """What reads a row at a place; ConfigError where a column is not there."""
    if not columns.separator:
        raise ConfigError("--label-separator is empty; give what stands between labels, ; say")
    pair_column = columns.pair or (PAIR_COLUMN if PAIR_COLUMN in names else None)
    label_column = columns.label or next((name for name in _LABEL_COLUMNS if name in names), None)
    of_labels = [name for name in labels if name in names and name != columns.text]
    if label_column is None and of_labels and (missing := set(labels) - {*of_labels}):
        raise ConfigError(
            f"{path} has columns for {len(of_labels)} of {len(labels)} labels and none for "
            f"{_listed(sorted(missing))}; add them, or give the column of the labels with --label-column"
        )
    for wanted, option in (
        (columns.text, "--column"),
        (pair_column, "--pair-column"),
        (label_column or (None if of_labels else "label"), "--label-column"),
    ):
        if wanted and wanted not in names:
            raise ConfigError(
                f"{path} has no column {wanted}, only {', '.join(map(str, names))}; "
                f"choose with {option}"
            )
    numbers = {label: number for number, label in enumerate(labels)}

    def read(row: Mapping[str, Any], place: str) -> tuple[Input, list[int]]:
        text = _text(row, columns.text, pair_column, place)
        if label_column is None:
            return text, [n for n, each in enumerate(labels) if _is_set(row.get(each), each, place)]
        value = row.get(label_column)
        if independent and str(value) not in numbers:
            value = _parted(value, columns.separator)
        listed = value if isinstance(value, list) else [value]
        return text, [_label(each, numbers, place) for each in listed]

    return read


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and content of each row."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        yield from _parquet(path)
        return
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        if name.endswith((".jsonl", ".ndjson")):
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", _object(line, f"{path}, line {number}")
        elif name.endswith((".csv", ".tsv")):
            cells = csv.reader(lines, delimiter="\t" if name.endswith(".tsv") else ",", strict=True)
            names = next(filter(None, cells), [])  # the first line that is not blank
            for row in filter(None, cells):
                yield f"{path}, line {cells.line_num}", dict(zip_longest(names, row[: len(names)]))
        else:
            raise ConfigError(f"{path} is none of .csv, .tsv, .jsonl and .parquet; convert it")


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise ConfigError(
            f"{path} needs pyarrow; install it with `pip install 'bertserve[evaluate]'`"
        ) from None
    try:
        table = parquet.read_table(path)
    except ArrowInvalid as error:
        raise ConfigError(f"{path} is no Parquet file: {error}") from error
    for number, row in enumerate(table.to_pylist(), start=1):
        yield f"{path}, row {number}", row


def _object(line: str, place: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: this is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{place}: write an object with a text and a label")
    return value


def _text(row: Mapping[str, Any], column: str, pair_column: str | None, place: str) -> Input:
    for wanted in filter(None, (column, pair_column)):
        if not isinstance(row.get(wanted), str) or not row[wanted].strip():
            raise ConfigError(f"{place}: there is no text in {wanted}")
    return row[column] if pair_column is None else Pair(row[column], row[pair_column])


def _parted(value: Any, separator: str) -> Any:
    """The names in a cell; other values as they are."""
    if value is not None and not isinstance(value, str):
        return value
    return [name.strip() for name in (value or "").split(separator) if name.strip()]


def _is_set(value: Any, label: str, place: str) -> bool:
    """Whether a text has a label, by the cell in the label's own column."""
    known = _ONE_HOT.get(str(value).strip().lower())
    if known is None:
        raise ConfigError(f'{place}: "{label}" is {_short(value)}; write 1 or 0')
    return known


def _label(value: Any, numbers: Mapping[str, int], place: str) -> int:
    """The number of a label; a name that looks like a number is a name first."""
    if str(value) in numbers:
        return numbers[str(value)]
    name = str(value).strip().removesuffix(".0")  # as columns with gaps have whole numbers
    if name.isdecimal() and len(name) < _LONGEST_NUMBER and int(name) < len(numbers):
        return int(name)
    raise ConfigError(
        f"{place}: {_short(value)} is no label of this model; it has {len(numbers)}: "
        f"{_listed(list(numbers))}"
    )


def _short(value: Any) -> str:
    text = str(value)
    return repr(value if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")


def _listed(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    return ", ".join(f'"{name}"' for name in names[:5]) + (", …" if len(names) > 5 else "")

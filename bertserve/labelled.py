"""Texts with their right labels, from CSV, JSON lines or Parquet.

    read_labelled(Path("test.csv"), labels, columns=Columns(label="category"))

A label is its name, or its number in the order of the model's outputs. Where labels are independent a row
has any number of them: a list in JSON lines and Parquet, and in CSV names between `|`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError
from .files import LONGEST_FIELD, PAIR_COLUMN
from .results import Input, Pair

_LABEL_COLUMNS = ("label", "labels", "category", "intent", "class", "target")
_BETWEEN = "|"
_LONGEST_NUMBER = 10  # digits
_LONGEST_SHOWN = 60  # characters


@dataclass(frozen=True)
class Columns:
    """Where things stand in a file.

    None: second texts in `text_pair`, if there is such a column; labels in `label`, `category` or the
    like.
    """

    text: str = "text"
    pair: str | None = None
    label: str | None = None


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
    names = list(rows[0][1])
    usual = next((name for name in _LABEL_COLUMNS if name in names), "label")
    label_column = columns.label or usual
    pair_column = columns.pair or (PAIR_COLUMN if PAIR_COLUMN in names else None)
    for wanted, option in (
        (columns.text, "--column"),
        (pair_column, "--pair-column"),
        (label_column, "--label-column"),
    ):
        if wanted and wanted not in names:
            raise ConfigError(
                f"{path} has no column {wanted}, only {', '.join(map(str, names))}; "
                f"choose with {option}"
            )
    numbers = {label: number for number, label in enumerate(labels)}
    texts: list[Input] = []
    right = np.zeros((len(rows), len(labels)), dtype=bool)
    for index, (place, row) in enumerate(rows):
        texts.append(_text(row, columns.text, pair_column, place))
        found = _labels(row.get(label_column), numbers, independent, place)
        if not independent and len(found) != 1:
            raise ConfigError(f"{place}: a text has one label here, not {len(found)}")
        right[index, found] = True
    return Labelled(texts, right, path.name, digest)


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
            reader = csv.DictReader(lines, delimiter="\t" if name.endswith(".tsv") else ",")
            for row in reader:
                yield f"{path}, line {reader.line_num}", row
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
        value = json.loads(line)
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


def _labels(value: Any, numbers: Mapping[str, int], independent: bool, place: str) -> list[int]:
    if independent and (value is None or isinstance(value, str)):
        value = [name.strip() for name in (value or "").split(_BETWEEN) if name.strip()]
    return [
        _label(each, numbers, place) for each in (value if isinstance(value, list) else [value])
    ]


def _label(value: Any, numbers: Mapping[str, int], place: str) -> int:
    """The number of a label; a name that looks like a number is a name first."""
    if str(value) in numbers:
        return numbers[str(value)]
    name = str(value).strip().removesuffix(".0")  # as columns with gaps have whole numbers
    if name.isdecimal() and len(name) < _LONGEST_NUMBER and int(name) < len(numbers):
        return int(name)
    known = ", ".join(f'"{label}"' for label in list(numbers)[:5])
    shown = value if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…"
    raise ConfigError(
        f"{place}: {shown!r} is no label of this model; it has {len(numbers)}: {known}"
        f"{', …' if len(numbers) > 5 else ''}"
    )

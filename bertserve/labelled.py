"""Texts with their right labels, from CSV, JSON lines or Parquet.

    read_labelled(Path("test.csv"), labels, column="text", label_column="category")

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
from .results import Input, Pair

_LABEL_COLUMNS = ("label", "labels", "category", "intent", "class", "target")
_BETWEEN = "|"


@dataclass(frozen=True)
class Labelled:
    """Texts and their right labels, bool [texts, labels]; exactly one a row unless independent."""

    texts: list[Input]
    right: NDArray[np.bool_]
    source: str
    sha256: str

    @property
    def indices(self) -> NDArray[np.intp]:
        """The one right label of each text, [texts]."""
        return self.right.argmax(axis=1)

    def part(self, rows: NDArray[np.intp]) -> Labelled:
        """Some of the rows."""
        texts = [self.texts[row] for row in rows]
        return Labelled(texts, self.right[rows], self.source, self.sha256)


def read_labelled(
    path: Path,
    labels: Sequence[str],
    *,
    independent: bool = False,
    column: str = "text",
    pair_column: str | None = None,
    label_column: str | None = None,
) -> Labelled:
    """Read a file; ConfigError names the line that is wrong.

    labels         names in the order of the model's outputs
    independent    whether a text may have any number of labels
    label_column   where they stand; `label`, `category` or the like if not given
    """
    try:
        rows = list(_rows(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise ConfigError(f"{path} holds no texts; give a file with some")
    columns = list(rows[0][1])
    label_column = label_column or next((c for c in _LABEL_COLUMNS if c in columns), None)
    for wanted, option in ((column, "--column"), (label_column, "--label-column")):
        if wanted is None or wanted not in columns:
            raise ConfigError(
                f"{path} has no column {wanted or 'label'}, only {', '.join(columns)}; "
                f"choose with {option}"
            )
    assert label_column is not None
    numbers = {label: number for number, label in enumerate(labels)}
    texts: list[Input] = []
    right = np.zeros((len(rows), len(labels)), dtype=bool)
    for index, (place, row) in enumerate(rows):
        texts.append(_text(row, column, pair_column, place))
        found = _labels(row[label_column], numbers, len(labels), independent, place)
        if not independent and len(found) != 1:
            raise ConfigError(f"{place}: a text has one label here, not {len(found)}")
        right[index, found] = True
    return Labelled(texts, right, path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and content of each row."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        yield from _parquet(path)
        return
    with path.open(encoding="utf-8-sig", newline="") as lines:
        if name.endswith((".jsonl", ".ndjson")):
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", _object(line, f"{path}, line {number}")
        elif name.endswith(".csv"):
            reader = csv.DictReader(lines)
            for row in reader:
                yield f"{path}, line {reader.line_num}", row
        else:
            raise ConfigError(f"{path} is none of .csv, .jsonl and .parquet; convert it")


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise ConfigError(
            f"{path} needs pyarrow; install it with `pip install 'bertserve[parquet]'`"
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


def _labels(
    value: Any, numbers: Mapping[str, int], count: int, independent: bool, place: str
) -> list[int]:
    if isinstance(value, str) and independent:
        value = [name.strip() for name in value.split(_BETWEEN) if name.strip()]
    return [
        _label(each, numbers, count, place)
        for each in (value if isinstance(value, list) else [value])
    ]


def _label(value: Any, numbers: Mapping[str, int], count: int, place: str) -> int:
    """The number of a label; a name that looks like a number is a name first."""
    if str(value) in numbers:
        return numbers[str(value)]
    if str(value).isdecimal() and int(value) < count:
        return int(value)
    known = ", ".join(list(numbers)[:5])
    raise ConfigError(
        f"{place}: {value!r} is no label of this model; it has {count}: {known}"
        f"{', …' if count > 5 else ''}"
    )

"""Files of results, each whole or not there, and what each is about.

    write_part(folder, part, table, "parquet")

Beside each file stands in `_bertserve/` what its rows came to, which is written before it: a file that is
there is done.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs, parquet

from ..errors import ConfigError
from ..system import appearing, scratch_folder
from .columns import replaced
from .parts import ASIDE, file_system

FORMATS = ("parquet", "jsonl", "csv")
RECORD = "job"  # what was asked for, aside


@dataclass(frozen=True)
class Folder:
    """A folder of results, here or by URI."""

    system: fs.FileSystem
    path: str

    @classmethod
    def has_results(cls, where: str) -> bool:
        """Whether a job was begun there; nothing is made."""
        system, path = file_system(where)
        return cls(system, path.rstrip("/")).read_aside(RECORD) is not None

    @classmethod
    def at(cls, where: str) -> Folder:
        """The folder, which is made if it is not there."""
        system, path = file_system(where)
        found = cls(system, path.rstrip("/"))
        system.create_dir(f"{found.path}/{ASIDE}", recursive=True)
        return found

    def names(self) -> set[str]:
        """The files of results that are there, and of which it is known what their rows came to."""
        known = {name.removesuffix(".json") for name in self._listed(f"{self.path}/{ASIDE}")}
        return {name for name in self._listed(self.path) if name.rpartition(".")[0] in known}

    def _listed(self, folder: str) -> list[str]:
        selector = fs.FileSelector(folder, allow_not_found=True)
        return [
            each.base_name
            for each in self.system.get_file_info(selector)
            if each.type == fs.FileType.File and not each.base_name.startswith(".")
        ]

    def read_aside(self, name: str) -> Any:
        """What was written aside; None where it was not."""
        try:
            with self.system.open_input_stream(f"{self.path}/{ASIDE}/{name}.json") as file:
                return json.loads(file.read())
        except FileNotFoundError:
            return None

    def begin(self, record: Any) -> Any:
        """Write what is asked for, unless somebody else did, and return that."""
        if not isinstance(self.system, fs.LocalFileSystem):
            if (found := self.read_aside(RECORD)) is None:
                self.write_aside(RECORD, record)
            return found
        place = Path(self.path, ASIDE, f"{RECORD}.json")
        with scratch_folder("score", place.parent) as scratch:
            mine = scratch / place.name
            mine.write_bytes(_as_json(record))
            try:
                place.hardlink_to(mine)
            except FileExistsError:
                return self.read_aside(RECORD)
            except OSError:  # there are no links here
                self.write_aside(RECORD, record)
        return None

    def write_aside(self, name: str, value: Any) -> None:
        """Write what is no result."""
        content = _as_json(value)
        self.write(f"{ASIDE}/{name}.json", lambda file: file.write(content))

    def write(self, name: str, fill: Callable[[IO[bytes]], Any]) -> None:
        """A file that appears whole."""
        path = f"{self.path}/{name}"
        if not isinstance(self.system, fs.LocalFileSystem):
            # a store shows what was written to a stream that is given up: nothing may fail on the way
            content = io.BytesIO()
            fill(content)
            with self.system.open_output_stream(path) as stream:
                stream.write(content.getbuffer())
            return
        with appearing(Path(path)) as partial, partial.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())


def _as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def ending(form: str) -> str:
    """The ending of the files of a format; ConfigError where it is none of ours."""
    if form not in FORMATS:
        raise ConfigError(f"{form} is no format of results; choose one of {', '.join(FORMATS)}")
    return f".{form}"


def write_table(file: IO[bytes], table: pa.Table, form: str) -> None:
    """A scored table as a file; in CSV lists are JSON."""
    if form == "parquet":
        parquet.write_table(table, file, compression="zstd")
        return
    table = _in_utf8(table)
    rows = (row for batch in table.to_batches(1_000) for row in batch.to_pylist())
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        if form == "csv":
            writer = csv.writer(text)
            writer.writerow(table.column_names)
            writer.writerows(map(_cell, row.values()) for row in rows)
        else:
            for row in rows:
                text.write(json.dumps(_plain(row), ensure_ascii=False, default=str) + "\n")
        text.flush()
    finally:
        text.detach()


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(_plain(value), ensure_ascii=False, default=str)
    return _plain(value) if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    """What JSON has: no number is null, and bytes are base64."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _in_utf8(table: pa.Table) -> pa.Table:
    """A table whose strings are UTF-8, as text must be; Parquet keeps what others wrote."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(place, field, replaced(table.column(place)))
    return table

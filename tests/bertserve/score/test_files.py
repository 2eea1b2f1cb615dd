from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import IO

import pyarrow as pa
import pytest
from pyarrow import fs, parquet

from bertserve.errors import ConfigError
from bertserve.score.files import Folder, ending, write_table

TABLE = pa.table({"id": [1, 2], "label": ["ä", None], "probabilities": [[0.5, 0.5], None]})


def written(form: str) -> bytes:
    found = io.BytesIO()
    write_table(found, TABLE, form)
    return found.getvalue()


def test_tables_in_each_format() -> None:
    assert parquet.read_table(io.BytesIO(written("parquet"))).equals(TABLE)
    assert [json.loads(line) for line in written("jsonl").splitlines()] == TABLE.to_pylist()
    rows = list(csv.reader(io.StringIO(written("csv").decode())))
    assert rows == [["id", "label", "probabilities"], ["1", "ä", "[0.5, 0.5]"], ["2", "", ""]]
    with pytest.raises(ConfigError, match="choose one of parquet, jsonl, csv"):
        ending("xlsx")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path / "out"))

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError("the disk is full")

    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    for each in (folder, Folder(system, "out")):  # as in a store
        with pytest.raises(OSError, match="full"):
            each.write("a.csv", fail)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["_bertserve"]
    folder.write("a.csv", lambda file: file.write(b"whole"))
    assert folder.names() == set()  # nobody knows what its rows came to
    folder.write_aside("a", {})
    assert folder.names() == {"a.csv"}


def test_what_is_aside_is_no_result(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    assert folder.read_aside("job") is None
    folder.write_aside("job", {"a": 1})
    assert folder.read_aside("job") == {"a": 1}
    assert folder.names() == set()

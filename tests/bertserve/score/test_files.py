from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
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


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_text_is_utf8_and_json_is_json(form: str) -> None:
    latin = pa.array([b"caf\xe9", b"b"]).view(pa.string())
    table = pa.table(
        {"a": ["\xe9a", "b"], "b": latin, "c": [float("nan"), 1.5], "d": [b"\x00\xff", None]}
    )
    found = io.BytesIO()
    write_table(found, table, form)
    said = found.getvalue().decode()
    assert "caf\ufffd" in said
    assert "AP8=" in said
    if form == "jsonl":
        first = json.loads(said.splitlines()[0], parse_constant=lambda _: pytest.fail("no JSON"))
        assert first == {"a": "\xe9a", "b": "caf\ufffd", "c": None, "d": "AP8="}


def test_a_job_is_begun_once(tmp_path: Path) -> None:
    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    Folder.at(str(tmp_path / "b"))
    for folder in (Folder.at(str(tmp_path / "a")), Folder(system, "b")):
        assert folder.begin({"a": 1}) is None
        assert folder.begin({"a": 2}) == {"a": 1}
        assert folder.read_aside("job") == {"a": 1}
    assert [path.name for path in (tmp_path / "a" / "_bertserve").iterdir()] == ["job.json"]


def test_of_many_that_begin_at_once_one_does(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(folder.begin, range(1, 65)))
    (number,) = (number for number, each in enumerate(found, 1) if each is None)
    assert {each for each in found if each is not None} == {number}


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

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bertserve.errors import ConfigError
from bertserve.score.lines import Columns, Unreadable
from bertserve.score.parts import Part, Source, find_parts, read_part

TEXT = Columns()


def write_parquet(path: Path, rows: int, group: int) -> None:
    table = pa.table({"text": [f"text {n}" for n in range(rows)], "other": list(range(rows))})
    parquet.write_table(table, path, row_group_size=group)


def parts_of(source: Source, rows: int, columns: Columns = TEXT) -> list[Part]:
    found: list[Part] = []
    for each in find_parts(source, columns, rows):
        assert not isinstance(each, Unreadable), each
        found += each
    return found


@pytest.mark.parametrize("group", [3, 7, 10, 100])
@pytest.mark.parametrize("rows", [4, 10, 50])
def test_row_groups_become_parts_of_the_size_that_is_wanted(
    tmp_path: Path, group: int, rows: int
) -> None:
    write_parquet(tmp_path / "a.parquet", 23, group)
    source = Source.of(str(tmp_path))
    parts = parts_of(source, rows, Columns(keep=("other",)))
    assert {part.rows for part in parts[:-1]} <= {rows}
    tables = [read_part(source.system, part, Columns(keep=("other",)))[0] for part in parts]
    assert pa.concat_tables(tables)["other"].to_pylist() == list(range(23))
    assert tables[0].column_names == ["text", "other"]


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if ".parquet" in name:
            write_parquet(path, 2, 2)
        elif name.endswith(".gz"):
            path.write_bytes(gzip.compress(b'{"text": "x"}\n'))
        else:
            path.write_text("text\nx\n" if ".csv" in name else '{"text": "x"}\n')


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (".", ["2025/a.csv", "2026/b.jsonl.gz", "c.parquet", "d.csv"]),
        ("*.csv", ["d.csv"]),
        ("*/*.csv", ["2025/a.csv"]),
        ("**/*.csv", ["2025/a.csv", "d.csv"]),
        ("202?", []),
        ("202[56]/*", ["2025/a.csv", "2026/b.jsonl.gz"]),
        ("d.csv", ["d.csv"]),
    ],
)
def test_files_folders_and_globs(tmp_path: Path, asked: str, found: list[str]) -> None:
    names = [
        "2025/a.csv",
        "2026/b.jsonl.gz",
        "c.parquet",
        "d.csv",
        "_aside/e.csv",
        ".f.csv",
        "g.txt",
    ]
    make(tmp_path, *names)
    where = str(tmp_path / asked)
    if not found:
        with pytest.raises(ConfigError, match="names no file that can be scored"):
            Source.of(where)
        return
    source = Source.of(where)
    assert [Path(each.path).relative_to(tmp_path).as_posix() for each in source.files] == found
    assert source.left_out == (asked == ".")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        Source.of(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="no address that pyarrow knows"):
        Source.of("nowhere://bucket/file.csv")


def test_results_are_not_taken_for_what_is_to_be_scored(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "scored/b.csv")
    source = Source.of(str(tmp_path), besides=str(tmp_path / "scored"))
    assert [each.base_name for each in source.files] == ["a.csv"]


def test_names_tell_file_and_rows_and_never_meet(tmp_path: Path) -> None:
    make(tmp_path, "x/a.csv", "y/a.csv", "x--a.csv", f"{'long' * 40}.csv", f"{'long' * 40}-2.csv")
    parts = parts_of(Source.of(str(tmp_path)), 10)
    names = [part.full_name for part in parts]
    assert len({part.name for part in parts}) == len(set(names)) == 5
    assert {name.rpartition(".")[0] for name in names if "--" in name} > {
        "x--a.csv.0000000000-0000000001",
        "y--a.csv.0000000000-0000000001",
    }
    assert all(len(name) < 200 for name in names)


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "d.csv")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 this is none PAR1")
    (tmp_path / "c.jsonl.gz").write_bytes(b"\x1f\x8b this is none")
    (tmp_path / "e.csv").write_text("other\nx\n")
    found = list(find_parts(Source.of(str(tmp_path)), TEXT, 10))
    assert [isinstance(each, Unreadable) for each in found] == [False, True, True, False, True]
    assert "b.parquet cannot be read" in str(found[1])
    assert "e.csv has no column text" in str(found[4])


def test_a_file_that_changed_has_another_digest(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    (before,) = parts_of(Source.of(str(tmp_path)), 10)
    (tmp_path / "a.csv").write_text("text\nx\ny\n")
    (after,) = parts_of(Source.of(str(tmp_path)), 10)
    assert before.name == after.name
    assert before.file != after.file
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(Unreadable, match=r"a\.csv"):
        read_part(Source.of(str(tmp_path)).system, after, TEXT)


def test_results_are_no_data_however_their_folder_is_spelled(tmp_path: Path) -> None:
    make(tmp_path, "in/a.csv", "in/out/_bertserve/job.csv", "in/out/a.parquet", "in/b.csv")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for where, to in (
        (f"{tmp_path}/in/../in", f"{tmp_path}/in/out"),
        (f"{tmp_path}/in", f"{tmp_path}/link/out/"),
        (f"{tmp_path}/link", f"{tmp_path}/in/out"),
        (f"{tmp_path}/in", f"{tmp_path}/elsewhere"),  # those of another job
    ):
        found = Source.of(where, besides=to)
        assert [Path(each.path).name for each in found.files] == ["a.csv", "b.csv"]


def test_a_file_is_one_whatever_leads_to_it(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "b/c.csv")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "b" / "d.csv").symlink_to(tmp_path / "a.csv")
    found = Source.of(str(tmp_path)).files
    assert [Path(each.path).name for each in found] == ["a.csv", "c.csv"]


@pytest.mark.parametrize("name", ["\u9867" * 75 + ".csv", ".mine.csv", "_mine.csv", "t[1].csv"])
def test_any_name_of_a_file_gives_one_of_results(name: str, tmp_path: Path) -> None:
    make(tmp_path, name)
    source = Source.of(str(tmp_path / name))
    (part,) = parts_of(source, 10)
    assert len(part.full_name.encode()) < 200
    assert part.name[0] not in "._"


def test_names_that_cannot_be_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        Source.of("~nobody-is-called-so/a.csv")
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).write_text("text\nx\n")
    with pytest.raises(ConfigError, match="has a name that is not UTF-8"):
        Source.of(str(tmp_path))


def test_a_column_that_holds_no_texts_is_of_its_file(tmp_path: Path) -> None:
    for name, table in (
        ("text", pa.table({"text": [1, 2]})),
        ("text_pair", pa.table({"text": ["a"], "text_pair": [1]})),
    ):
        parquet.write_table(table, tmp_path / "a.parquet")
        source = Source.of(str(tmp_path))
        (part,) = parts_of(source, 10)
        said = f"a.parquet: column {name} holds int64; choose one that holds"
        with pytest.raises(Unreadable, match=said):
            read_part(source.system, part, TEXT)


def test_types_are_those_of_the_first_file_that_tells_them() -> None:
    columns = Columns(keep=("note", "id"))
    first = pa.table({"note": pa.nulls(1), "id": [1]})
    second = pa.table({"note": ["x"], "id": [2.5]})
    found = columns.typed(first).typed(second)
    assert found.types == pa.schema([("note", pa.string()), ("id", pa.int64())])
    assert found.cast(first, "a").schema == found.types
    assert columns.typed(first).cast(second.drop(["id"]).append_column("id", pa.array([7])), "b")

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from bertserve.score.lines import Columns, Lines, Unreadable, header, spans, table_of

COLUMNS = Columns("text", keep=("id",))
# what a row of CSV may hold: quotes, commas and ends of lines too
CELLS = st.text(alphabet='ab",\n é😀', max_size=8)


def opened(content: bytes, name: str = "a.csv") -> Lines:
    packed = gzip.compress(content) if name.endswith(".gz") else content
    stream = pa.input_stream(
        io.BytesIO(packed), compression="gzip" if name.endswith(".gz") else None
    )
    return (
        Lines(stream, seekable=False)
        if name.endswith(".gz")
        else Lines(pa.BufferReader(content), seekable=True)
    )


def parts(
    content: bytes, rows: int, columns: Columns = COLUMNS, name: str = "a.csv"
) -> list[pa.Table]:
    """The tables of all parts of a file, each of which is opened anew."""
    lines = opened(content, name)
    header(lines, columns, name)
    found = []
    for _, count, span in spans(lines, name, rows):
        again = opened(content, name)
        names = header(again, columns, name)
        table, problems = table_of(again.between(*span), names, columns, name)
        assert not problems
        assert len(table) == count <= rows
        found.append(table)
    return found


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12), size=st.integers(1, 5))
def test_rows_of_csv_are_the_same_in_parts(rows: list[tuple[str, str]], size: int) -> None:
    written = io.StringIO(newline="")
    csv.writer(written).writerows([("id", "text"), *rows])
    content = written.getvalue().encode()
    for name in ("a.csv", "a.csv.gz"):
        tables = parts(content, size, name=name)
        found = pa.concat_tables(tables).to_pylist()
        assert [(row["id"], row["text"]) for row in found] == rows
        assert [len(table) for table in tables[:-1]] == [size] * (len(tables) - 1)


@given(texts=st.lists(st.text(max_size=8), min_size=1, max_size=12), size=st.integers(1, 5))
def test_rows_of_json_are_the_same_in_parts(texts: list[str], size: int) -> None:
    lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(texts)]
    content = "\n\n".join(lines).encode()
    for name in ("a.jsonl", "a.jsonl.gz"):
        found = pa.concat_tables(parts(content, size, name=name)).to_pylist()
        assert [row["text"] for row in found] == texts
        assert [row["id"] for row in found] == list(range(len(texts)))


def read(
    content: str | bytes, name: str, columns: Columns = COLUMNS
) -> tuple[pa.Table, dict[int, str]]:
    content = content.encode() if isinstance(content, str) else content
    lines = opened(content, name)
    names = header(lines, columns, name)
    table, problems = table_of(lines, names, columns, name)
    return table, {row: code for row, (code, _) in problems.items()}


def test_rows_that_are_wrong_are_errors_in_their_places() -> None:
    table, problems = read('id,text\n1,good\n\n2,"a"b\n3,one,too many\n4\n5,"last"\n', "a.csv")
    assert table["text"].to_pylist() == ["good", None, "one", None, "last"]
    assert table["id"].to_pylist() == ["1", None, "3", "4", "5"]
    assert problems == {1: "invalid_csv", 2: "invalid_csv"}


def test_lines_that_are_wrong_are_errors_in_their_places() -> None:
    lines = ['{"id": 1, "text": "good"}', "{", '{"id": 3, "text": 5}', "[]", '{"text": NaN}', "{}"]
    table, problems = read("\n".join(lines), "a.jsonl")
    assert table["text"].to_pylist() == ["good", None, None, None, None, None]
    assert table["id"].to_pylist() == [1, None, 3, None, None, None]
    assert problems == {1: "invalid_json", 2: "invalid_type", 3: "invalid_json", 4: "invalid_json"}


@pytest.mark.parametrize(
    ("name", "row"), [("a.csv", b"%s,%s\n"), ("a.jsonl", b'{"id":"%s","text":"%s"}\n')]
)
def test_bytes_that_are_not_utf8_are_errors_in_their_places(name: str, row: bytes) -> None:
    content = (
        b"id,text\n" * name.endswith(".csv") + row % (b"1", b"\xe9") + row % (b"\xe9", b"good")
    )
    table, problems = read(content, name)
    assert problems == {0: "invalid_utf8", 1: "invalid_utf8"}  # of what is kept too
    assert table["text"].to_pylist() == [None, "good"]
    assert table["id"].to_pylist() == ["1", "\ufffd"]


def test_a_quote_that_is_never_closed_is_no_row_of_a_thousand_lines() -> None:
    with pytest.raises(Unreadable, match="a.csv: the quotes of 3 lines do not fit together"):
        read('id,text\n1,"never\n2,b\n3,c\n', "a.csv")


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("", "a.csv", "is empty"),
        ("a,b\n", "a.csv", "a.csv has no column text, only a, b; choose with --column"),
        ("text\nx\n", "a.csv", "has no column id, only text; choose with --keep"),
        ('{"a": 1}', "a.jsonl", "a.jsonl has no column text, only a;"),
    ],
)
def test_what_is_missing_is_told(content: str, name: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read(content, name)


def test_a_mark_at_the_beginning_is_no_part_of_a_name() -> None:
    table, _ = read("\ufeffid,text\n1,x\n", "a.csv")
    assert table.column_names == ["text", "id"]
    assert pa.concat_tables(parts("\ufeffid,text\n1,x\n2,y\n".encode(), 1))["id"].to_pylist() == [
        "1",
        "2",
    ]
    assert read('\ufeff{"text":"x","id":1}', "a.jsonl")[0]["id"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, None], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([True, False], pa.bool_()),
        (["a", "b"], pa.string()),
        ([1, "b", {"c": [1]}], pa.string()),
        ([True, 1], pa.string()),
        ([None, None], pa.string()),
    ],
)
def test_types_of_json_are_kept_where_all_are_of_one(
    values: list[object], kind: pa.DataType
) -> None:
    lines = "\n".join(json.dumps({"id": value, "text": "x"}) for value in values)
    table, _ = read(lines, "a.jsonl")
    assert table["id"].type == kind
    if kind != pa.string():
        assert table["id"].to_pylist() == values
    else:
        said = [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]
        assert table["id"].to_pylist() == said


def test_a_value_of_another_type_is_told_not_lost() -> None:
    first, _ = read('{"id": 1, "text": "x"}', "a.jsonl")
    columns = COLUMNS.typed(first)
    with pytest.raises(Unreadable, match=r"b.jsonl: column id was int64 in the first rows"):
        read('{"id": "seven", "text": "x"}', "b.jsonl", columns)
    table, _ = read("id,text\n7,x\n", "a.csv", columns)
    assert columns.cast(table, "a.csv")["id"].to_pylist() == [7]


def test_second_texts_are_found_by_their_usual_name() -> None:
    table, _ = read("id,text,text_pair\n1,a,b\n", "a.csv")
    assert table["text_pair"].to_pylist() == ["b"]
    table, problems = read(
        '{"id":1,"text":"a","second":2}', "a.jsonl", Columns("text", "second", ("id",))
    )
    assert problems == {0: "invalid_type"}


def test_a_local_file_is_read_from_any_place(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n" + "".join(f"{n},text {n}\n" for n in range(100)))
    file = fs.LocalFileSystem().open_input_file(str(path))
    with Lines(file, seekable=True) as lines:
        names = header(lines, COLUMNS, "a.csv")
        found = list(spans(lines, "a.csv", 30))
        assert [(first, count) for first, count, _ in found] == [
            (0, 30),
            (30, 30),
            (60, 30),
            (90, 10),
        ]
        table, _ = table_of(lines.between(*found[2][2]), names, COLUMNS, "a.csv")
    assert table["id"].to_pylist() == [str(number) for number in range(60, 90)]
    with pytest.raises(EOFError):
        opened(b"text\nx\n").between(5, 100)


def test_a_character_that_was_cut_in_two_is_replaced_where_it_is_kept() -> None:
    table, problems = read(
        '{"text": "x", "id": "cut \\ud83d"}\n{"text": "y", "id": "\\ud83d\\ude00"}', "a.jsonl"
    )
    assert table["id"].to_pylist() == ["cut \ufffd", "\U0001f600"]
    assert problems == {}


def test_numbers_that_are_too_large_are_kept_as_they_are_written() -> None:
    table, _ = read(f'{{"text": "x", "id": {2**64 - 1}}}\n{{"text": "y", "id": 7}}', "a.jsonl")
    assert table["id"].to_pylist() == [str(2**64 - 1), "7"]


def test_what_no_row_has_cannot_be_kept() -> None:
    with pytest.raises(Unreadable, match="a.jsonl has no column id, only text; choose with --keep"):
        read('{"text": "x"}\n{"text": "y"}', "a.jsonl")


@pytest.mark.parametrize("name", ["export.jsonl.csv", "a.tsv.csv.gz"])
def test_the_last_ending_counts(name: str) -> None:
    table, _ = read("id,text\n1,good\n", name)
    assert table["text"].to_pylist() == ["good"]


def test_two_columns_of_one_name_are_told_apart_by_nobody() -> None:
    with pytest.raises(Unreadable, match="a.csv has 2 columns id; rename all but one"):
        read("id,text,id\n1,good,2\n", "a.csv")

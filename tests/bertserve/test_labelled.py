import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from bertserve import Pair
from bertserve.errors import ConfigError
from bertserve.labelled import Columns, Labelled, read_labelled

LABELS = ["a", "b", "7"]


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(name: str, content: str | bytes, **options: Any) -> Labelled:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_labelled(path, LABELS, **options)

    return read


def test_csv_with_names_and_numbers(read: Any) -> None:
    found = read("t.csv", 'text,label\n"one, two",b\nthree,0\nfour,7\n')
    assert found.texts == ["one, two", "three", "four"]
    assert found.indices.tolist() == [1, 0, 2]  # a name that looks like a number is a name
    assert found.right.sum(axis=1).tolist() == [1, 1, 1]
    assert (found.source, len(found.sha256)) == ("t.csv", 64)


def test_blank_lines_of_csv_are_left_out(read: Any) -> None:
    found = read("t.csv", "\n\ntext,label\n\none,a\n\n")
    assert (found.texts, found.indices.tolist()) == (["one"], [0])
    with pytest.raises(ConfigError, match="line 5: 'x' is no label"):
        read("t.csv", "\ntext,label\none,a\n\ntwo,x\n")


@pytest.mark.parametrize("column", ["category", "intent", "class"])
def test_the_column_of_labels_has_many_names(read: Any, column: str) -> None:
    assert read("t.csv", f"{column},text\nb,one\n").indices.tolist() == [1]


def test_columns_that_are_named(read: Any) -> None:
    content = "question,answer,wanted,label\none,two,b,x\n"
    found = read("t.csv", content, columns=Columns("question", "answer", "wanted"))
    assert found.texts == [Pair("one", "two")]
    assert found.indices.tolist() == [1]


def test_pairs_are_known_by_any_row(read: Any) -> None:
    first, second = '{"text": "one", "label": "a"}', '{"text": "o", "text_pair": "p", "label": "a"}'
    with pytest.raises(ConfigError, match="line 1: there is no text in text_pair"):
        read("t.jsonl", f"{first}\n{second}\n")


def test_lines_of_json(read: Any) -> None:
    found = read("t.jsonl", '{"text": "one", "label": 1}\n\n{"text": "two", "label": "a"}\n')
    assert found.texts == ["one", "two"]
    assert found.indices.tolist() == [1, 0]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = {"text": ["one", "two"], "labels": [["a", "7"], []]}
    parquet.write_table(pyarrow.table(table), path)
    found = read_labelled(path, LABELS, independent=True)
    assert found.texts == ["one", "two"]
    assert found.right.tolist() == [[True, False, True], [False] * 3]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "text,labels\none,a|7\ntwo,\nthree, b \n"),
        (
            "t.jsonl",
            '{"text": "one", "labels": ["a", 2]}\n{"text": "two", "labels": []}\n'
            '{"text": "three", "labels": "b"}\n',
        ),
    ],
)
def test_any_number_of_independent_labels(read: Any, name: str, content: str) -> None:
    found = read(name, content, independent=True)
    assert found.right.tolist() == [[True, False, True], [False] * 3, [False, True, False]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "holds no texts"),
        ("t.csv", "text,label\n", "holds no texts"),
        ("t.csv", "body,label\none,a\n", "no column text, only body, label; choose with --column"),
        (
            "t.csv",
            "text,tag\none,a\n",
            "no column label, only text, tag; choose with --label-column",
        ),
        ("t.csv", "text,label\none,a\ntwo,z\n", r'line 3: .z. is no label .* has 3: "a", "b", "7"'),
        ("t.csv", "text,label\none,8\n", "line 2: '8' is no label"),
        ("t.csv", f"text,label\none,{'1' * 5000}\n", "line 2: '1{60}…' is no label"),
        ("t.csv", "text,label\n ,a\n", "line 2: there is no text in text"),
        ("t.csv", "text,label\none\n", "line 2: None is no label"),
        ("t.csv", b"text,label\n\xff,a\n", "cannot be read"),
        ("t.csv", 'text,label\n"one,a\ntwo,b\n', "unexpected end of data"),
        ("t.jsonl", "{\n", "line 1: this is not JSON"),
        ("t.jsonl", '{"text": "one", "label": NaN}', "line 1: this is not JSON .NaN is no number"),
        ("t.jsonl", "[1]\n", "line 1: write an object"),
        ("t.jsonl", '{"text": 1, "label": "a"}', "line 1: there is no text"),
        ("t.jsonl", '{"text": "one", "label": ["a", "b"]}', "one label here, not 2"),
        ("t.jsonl", '{"text": "one", "label": -1}', "-1 is no label"),
        ("t.jsonl", '{"text": "one", "label": true}', "True is no label"),
        ("t.jsonl", '{"text": "one", "label": "a"}\n{"text": "two"}', "line 2: None is no label"),
        ("t.txt", "one\n", "none of .csv, .tsv, .jsonl and .parquet"),
        ("t.parquet", b"PAR", "no Parquet file"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    read: Any, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(name, content)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labelled(tmp_path / "t.csv", LABELS)


def test_some_of_the_rows(read: Any) -> None:
    lines = (json.dumps({"text": str(i), "label": i % 3}) for i in range(9))
    part = read("t.jsonl", "\n".join(lines)).part(np.array([8, 1]))
    assert part.texts == ["8", "1"]
    assert part.indices.tolist() == [2, 1]


@pytest.mark.parametrize("label", ["1", "1.0", " 1 "])
def test_whole_numbers_may_have_a_point(label: str, tmp_path: Path) -> None:
    """Tables with gaps hold them so."""
    path = tmp_path / "t.tsv"
    path.write_text(f"text\tlabel\none, two\t{label}\n")
    found = read_labelled(path, ["a", "b", "c"])
    assert (found.texts, found.indices.tolist(), found.pairs) == (["one, two"], [1], False)


def test_second_texts_are_read_where_they_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,text_pair,label\none,two,a\n")
    found = read_labelled(path, ["a", "b"])
    assert found.pairs
    assert found.texts == [Pair("one", "two")]


ONE_HOT = "text,7,b,a\none,1,0,1\ntwo,0.0,0,false\nthree,0,True, 1.0 \n"


def test_each_label_may_have_a_column(read: Any, tmp_path: Path) -> None:
    expected = [[True, False, True], [False] * 3, [True, True, False]]
    found = read("t.csv", ONE_HOT, independent=True)
    assert found.right.tolist() == expected
    table = {"text": ["one"], "a": [True], "b": [False], "7": [1]}
    parquet.write_table(pyarrow.table(table), tmp_path / "t.parquet")
    found = read_labelled(tmp_path / "t.parquet", LABELS, independent=True)
    assert found.right.tolist() == expected[:1]
    row = json.dumps({"text": "one", "a": 0, "b": 1, "7": False})
    assert read("t.jsonl", row).indices.tolist() == [1]  # one of labels that exclude each other


def test_a_column_of_labels_comes_before_columns_of_each(read: Any) -> None:
    """As in what predict wrote, where each label's column holds its probability."""
    assert read("t.csv", "text,label,a,b,7\none,b,0.2,0.7,0.1\n").indices.tolist() == [1]


@pytest.mark.parametrize("separator", [";", ", ", " and "])
def test_what_stands_between_labels(read: Any, separator: str) -> None:
    content = f"text\tlabels\none\ta{separator}7\ntwo\t\nthree\tb\n"
    found = read("t.tsv", content, independent=True, columns=Columns(separator=separator))
    assert found.right.tolist() == [[True, False, True], [False] * 3, [False, True, False]]


def test_a_label_whose_name_has_the_separator_in_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,labels\none,a|b\ntwo,c\n")
    found = read_labelled(path, ["a|b", "c"], independent=True)
    assert found.right.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,a,b\none,1,0\n", {}, 'columns for 2 of 3 labels and none for "7"; add them'),
        ("text,a,b,7\none,1,0,-1\n", {}, "line 2: .7. is '-1'; write 1 or 0"),
        ("text,a,b,7\none,1,0,\n", {}, "line 2: .7. is ''; write 1 or 0"),
        ("text,a,b,7\none,1,0\n", {}, 'line 2: "7" is None; write 1 or 0'),
        ("text,a,b,7\none,1,1,0\n", {}, "one label here, not 2"),
        ("text,label\none,a\n", {"columns": Columns(separator="")}, "--label-separator is empty"),
    ],
)
def test_columns_of_labels_that_will_not_do(
    read: Any, content: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read("t.csv", content, **options)

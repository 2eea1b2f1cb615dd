from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from bertserve.errors import ConfigError
from bertserve.score.columns import METADATA, Shape, as_text, results
from bertserve.score.engine import _ANSWERS

INSPECTED: dict[str, Any] = {
    "sha256": "abc",
    "name": "tiny",
    "version": "1.0",
    "labels": ["good", "label"],
    "activation": "softmax",
    "calibration": {"method": "none"},
}


def answers(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, pa.schema(_ANSWERS))


GOOD = {"label": "good", "probability": 0.75, "truncated": False, "probabilities": [0.75, 0.25]}
BAD = {"code": "empty_text", "message": "it is empty"}


def test_a_row_has_what_was_kept_and_what_was_answered() -> None:
    table = pa.table({"id": [1, 2, 3], "label": ["a", "b", "c"], "text": ["x", "", None]})
    shape = Shape.of(INSPECTED, wide=False)
    problems = {2: ("missing_text", "there is none")}
    found = results(
        table, [answers([GOOD, BAD]), answers([BAD])], problems, shape, "float32", ["id", "label"]
    )
    assert found.to_pylist() == [
        {"id": 1, "input_label": "a", **GOOD, "error": None},
        *(
            {
                "id": row,
                "input_label": label,
                **dict.fromkeys(GOOD),
                "error": {"code": code, "message": message},
            }
            for row, label, (code, message) in [
                (2, "b", ("empty_text", "it is empty")),
                (3, "c", ("missing_text", "there is none")),
            ]
        ),
    ]
    told = json.loads(found.schema.metadata[METADATA])
    assert told["archive"] == "abc"
    assert (told["labels"], told["precision"]) == (["good", "label"], "float32")


def test_a_wide_table_has_a_column_a_label() -> None:
    shape = Shape.of(INSPECTED, wide=True)
    found = results(pa.table({"text": ["x"]}), [answers([GOOD])], {}, shape, "float32", [])
    (row,) = found.to_pylist()
    assert (row["good"], row["probability_label"]) == (0.75, 0.25)
    assert "probabilities" not in row


def test_labels_and_sets_are_there_where_an_archive_has_them() -> None:
    independent = Shape.of({**INSPECTED, "activation": "sigmoid"}, wide=False)
    assert "labels" in [field.name for field in independent.fields]
    sets = {"method": "temperature", "sets": {"coverage": 0.9, "level": 0.1}}
    shape = Shape.of({**INSPECTED, "calibration": sets}, wide=False)
    rows = [{**GOOD, "set": ["good", "label"]}]
    found = results(pa.table({"text": ["x"]}), [answers(rows)], {}, shape, "float32", [])
    assert found["set"].to_pylist() == [["good", "label"]]


@pytest.mark.parametrize("wide", [False, True])
def test_a_table_without_rows_has_the_same_columns(wide: bool) -> None:
    shape = Shape.of(INSPECTED, wide=wide)
    table = pa.table({"id": [1], "text": ["x"]})
    full = results(table, [answers([GOOD])], {}, shape, "float32", ["id"])
    assert results(table.slice(1), [], {}, shape, "float32", ["id"]).schema == full.schema


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x", "y", None]),
        pa.array(["x", "y", None], pa.large_string()),
        pa.array(["x", "y", None], pa.string_view()),
        pa.array(["x", "y", None]).dictionary_encode(),
        pa.array([b"x", b"y", None]),
    ],
    ids=str,
)
def test_texts_of_any_type(column: pa.Array) -> None:
    found, problems = as_text(pa.chunked_array([column]), "body")
    assert found.to_pylist() == ["x", "y", None]
    assert problems == {2: ("missing_text", "there is no text in body")}


def test_bytes_that_are_not_utf8_are_errors_of_their_rows() -> None:
    column = pa.chunked_array([pa.array([b"x", b"\xe9"]), pa.array([b"\xff", None, b"y"])])
    for each in (column, pa.chunked_array([chunk.view(pa.string()) for chunk in column.chunks])):
        found, problems = as_text(each, "body")
        assert found.to_pylist() == ["x", None, None, None, "y"]
        assert {row: code for row, (code, _) in problems.items()} == {
            1: "invalid_utf8",
            2: "invalid_utf8",
            3: "missing_text",
        }


def test_a_column_of_numbers_is_refused() -> None:
    with pytest.raises(ConfigError, match="column id holds int64"):
        as_text(pa.chunked_array([[1, 2]]), "id")

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from bertserve.score.columns import _ERROR
from bertserve.score.summary import Summary


def scored(rows: list[tuple[str | None, float | None, str | None]]) -> pa.Table:
    return pa.table(
        {
            "label": pa.array([label for label, _, _ in rows], pa.string()),
            "probability": pa.array([value for _, value, _ in rows], pa.float32()),
            "truncated": pa.array([None if code else True for _, _, code in rows], pa.bool_()),
            "error": pa.array(
                [code and {"code": code, "message": "…"} for _, _, code in rows], _ERROR
            ),
        }
    )


ROWS: list[tuple[str | None, float | None, str | None]] = [
    ("a", 0.9, None),
    ("a", 0.8, None),
    ("b", 1.0, None),
    (None, 0.3, None),
    (None, None, "empty_text"),
]


def test_it_counts() -> None:
    found = Summary.of(scored(ROWS))
    assert (found.rows, found.undecided, found.failed, found.truncated) == (5, 1, 1, 4)
    assert (found.labels, found.errors) == ({"a": 2, "b": 1}, {"empty_text": 1})
    assert found.shares == {"a": 0.5, "b": 0.25}
    assert found.quantiles["0.5"] == pytest.approx(0.8, abs=0.002)
    assert found.quantiles["0.95"] == pytest.approx(0.999, abs=0.002)


def test_parts_sum_up_to_the_whole() -> None:
    total = Summary()
    for row in ROWS:
        written = json.dumps(Summary.of(scored([row])).as_json())
        total.add(Summary.read(json.loads(written)))
    assert total == Summary.of(scored(ROWS))
    assert Summary().quantiles == {}


def test_independent_labels_are_counted_each() -> None:
    table = scored([("a", 0.9, None), ("b", 0.8, None)])
    table = table.append_column("labels", pa.array([["a", "b"], ["b"]]))
    assert Summary.of(table, independent=True).labels == {"a": 1, "b": 2}
    kept = scored([("a", 0.9, None)]).append_column("labels", pa.array(["of the caller"]))
    assert Summary.of(kept).labels == {"a": 1}

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bertserve import Pair, Prediction, TextError
from bertserve.clients.files import Row, row_of
from bertserve.clients.outputs import Result, as_row, write_csv, write_json, write_jsonl
from bertserve.errors import ConfigError

PLAIN = Prediction({"a": 0.75, "ä": 0.25})
DETAILED = Prediction({"a": 0.75}, {"a": 3.5}, 5, False, "m", "1.0")
EMPTY = TextError("empty_text", "the text is empty")
RESULTS: list[tuple[Row, Result]] = [
    (row_of("one, two"), PLAIN),
    (row_of(Pair('say "x"', "line\nbreak")), DETAILED),
    (row_of(""), EMPTY),
]


def table(*results: tuple[Row, Result], **options: Any) -> list[dict[str, str]]:
    """What a program reads in the CSV of some results."""
    out = io.StringIO(newline="")
    write_csv(results, out, **{"labels": ["ä", "a"], **options})
    text = io.StringIO(out.getvalue(), newline="")
    return list(csv.DictReader(text, delimiter=options.get("delimiter", ",")))


def test_json_is_one_list() -> None:
    out = io.StringIO()
    write_json(RESULTS, out)
    first, second, third = json.loads(out.getvalue())
    assert first == {
        "text": "one, two",
        "label": "a",
        "probability": 0.75,
        "probabilities": {"a": 0.75, "ä": 0.25},
    }
    assert second["text_pair"] == "line\nbreak"
    assert (second["tokens"], second["logits"], second["version"]) == (5, {"a": 3.5}, "1.0")
    assert third == {
        "text": "",
        "error": {"code": "empty_text", "message": "the text is empty"},
    }


def test_json_of_results_that_end_too_early_can_be_read() -> None:
    def results() -> Iterator[tuple[Row, Result]]:
        yield RESULTS[0]
        raise ConfigError("no more")

    out = io.StringIO()
    with pytest.raises(ConfigError):
        write_json(results(), out)
    assert len(json.loads(out.getvalue())) == 1


def test_json_of_nothing() -> None:
    out = io.StringIO()
    write_json([], out)
    assert json.loads(out.getvalue()) == []


def test_json_lines() -> None:
    out = io.StringIO()
    write_jsonl(RESULTS, out)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["text"] for row in rows] == ["one, two", 'say "x"', ""]


def test_csv_can_be_read_back() -> None:
    rows = table(*RESULTS)
    assert [row["text"] for row in rows] == ["one, two", 'say "x"', ""]
    assert rows[1]["text_pair"] == "line\nbreak"
    assert float(rows[0]["probability"]) == 0.75
    assert json.loads(rows[2]["error"])["code"] == "empty_text"


def test_each_label_has_a_column() -> None:
    rows = table(*RESULTS)
    assert list(rows[0])[:6] == ["text", "text_pair", "label", "probability", "ä", "a"]
    assert [(row["a"], row["ä"]) for row in rows] == [("0.75", "0.25"), ("0.75", ""), ("", "")]
    assert json.loads(rows[1]["logits"]) == {"a": 3.5}


def test_columns_are_kept_so_that_rows_can_be_joined() -> None:
    missing = TextError("missing_text", "there is no text in text")
    results = (
        (Row("one", {"text": "one"}, {"id": "7", "n": 1.5}), PLAIN),
        (Row(missing, {"text": None}, {"id": "8", "n": None}), missing),
    )
    one, two = table(*results, keep=["id", "n"])
    assert list(one)[:3] == ["id", "n", "text"]
    assert (one["id"], one["n"], one["label"], one["error"]) == ("7", "1.5", "a", "")
    assert (two["id"], two["n"], two["text"], two["label"]) == ("8", "", "", "")
    assert json.loads(two["error"])["code"] == "missing_text"
    assert as_row(*results[1]) == {
        "id": "8",
        "n": None,
        "text": None,
        "error": {"code": "missing_text", "message": "there is no text in text"},
    }


def test_names_that_two_columns_would_have() -> None:
    """A file's own label is kept, and labels may be called as anything."""
    kept = {"label": "right", "a": "1", "error": "none"}
    row = Row("one", {"text": "one"}, kept)
    found = Prediction({"a": 0.5, "error": 0.5})
    (one,) = table((row, found), labels=["a", "error"], keep=list(kept))
    assert (one["input_label"], one["label"]) == ("right", "a")
    assert (one["input_a"], one["a"]) == ("1", "0.5")
    assert (one["input_error"], one["probability_error"], one["error"]) == ("none", "0.5", "")
    written = as_row(row, found)
    assert (written["input_label"], written["label"], written["a"]) == ("right", "a", "1")


def test_tabs_part_columns_too() -> None:
    (row,) = table((row_of("one\ttwo"), PLAIN), delimiter="\t")
    assert (row["text"], row["ä"]) == ("one\ttwo", "0.25")


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(first: str) -> None:
    """Whether it stands in a text, a label, a kept column or the name of one."""
    evil = f"{first}cmd|' /C calc'!A0"
    row = Row(Pair(evil, evil), {"text": evil, "text_pair": evil}, {evil: evil, "n": "-5"})
    result = Prediction({evil: 1.0})
    options: dict[str, Any] = {"labels": [evil + "!"], "keep": [evil, "n"]}
    (found,) = table((row, result), escape_formulas=True, **options)
    for column in ("text", "text_pair", "label", f"'{evil}"):
        assert found[column] == f"'{evil}"
    assert f"'{evil}!" in found
    assert found["n"] == "-5"  # a number runs nothing
    (plain,) = table((row, result), **options)
    assert plain["text"] == plain["label"] == plain[evil] == evil
    (harmless,) = table((row_of("a = b"), PLAIN), escape_formulas=True)
    assert harmless["text"] == "a = b"

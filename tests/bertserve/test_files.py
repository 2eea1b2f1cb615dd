from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import pytest

from bertserve import Pair, Prediction, TextError
from bertserve.errors import ConfigError
from bertserve.files import read_texts, write_csv, write_json, write_jsonl
from bertserve.results import Input

PLAIN = Prediction({"a": 0.75, "ä": 0.25})
DETAILED = Prediction({"a": 0.75}, {"a": 3.5}, 5, False, "m", "1.0")
RESULTS: list[tuple[Input, Prediction | TextError]] = [
    ("one, two", PLAIN),
    (Pair('say "x"', "line\nbreak"), DETAILED),
    ("", TextError("empty_text", "the text is empty")),
]


def lines(text: str) -> io.StringIO:
    return io.StringIO(text, newline="")


class TestRead:
    def test_a_text_a_line(self) -> None:
        assert list(read_texts(lines("one\r\n\n two \nthree"), "t.txt")) == [
            "one",
            " two ",
            "three",
        ]

    def test_tabs_and_second_texts_by_their_usual_name(self) -> None:
        text = "text\ttext_pair\none, 1\ttwo\n"
        assert list(read_texts(lines(text), "t.tsv")) == [Pair("one, 1", "two")]
        assert list(read_texts(lines(text), "t.tsv", "text_pair")) == ["two"]
        row = '{"text": "one", "text_pair": "two"}\n{"text": "three"}'
        assert list(read_texts(lines(row), "t.jsonl")) == [Pair("one", "two"), "three"]

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_a_column_of_csv(self, mark: str) -> None:
        text = mark + 'text,id,other\n"one, ""two""\nthree",1,x\nfour,2,y\n'
        assert list(read_texts(lines(text), "t.csv")) == ['one, "two"\nthree', "four"]
        assert list(read_texts(lines(text), "t.csv", "other")) == ["x", "y"]
        pairs = [Pair('one, "two"\nthree', "x"), Pair("four", "y")]
        assert list(read_texts(lines(text), "t.csv", "text", "other")) == pairs

    @pytest.mark.parametrize("name", ["t.txt", "t.jsonl", "t.csv"])
    def test_a_byte_order_mark_is_no_part_of_the_first_line(self, name: str) -> None:
        text = {"t.txt": "one", "t.jsonl": '{"text": "one"}', "t.csv": '"text",n\none,1'}[name]
        assert list(read_texts(lines("\ufeff" + text), name)) == ["one"]

    def test_the_only_column_needs_no_name(self) -> None:
        assert list(read_texts(lines("question\none\n"), "t.csv")) == ["one"]

    def test_lines_of_json(self) -> None:
        text = '{"text": "one", "b": "x"}\n\n{"text": "two", "b": "y"}\n'
        assert list(read_texts(lines(text), "t.jsonl")) == ["one", "two"]
        assert list(read_texts(lines(text), "t.jsonl", "b")) == ["x", "y"]
        assert list(read_texts(lines(text), "t.jsonl", None, "b")) == [
            Pair("one", "x"),
            Pair("two", "y"),
        ]
        assert list(read_texts(lines('"one"\n"two"'), "t.jsonl")) == ["one", "two"]

    @pytest.mark.parametrize(
        ("name", "text", "options", "message"),
        [
            ("t.csv", "a,b\n1,2\n", {}, "no column text, only a, b; choose with --column"),
            ("t.csv", "text,b\n1\n", {"pair_column": "b"}, "line 2: there is no text in b"),
            ("t.csv", "", {}, "t.csv is empty"),
            ("t.jsonl", '{"text": "a"}\n{"text"', {}, "line 2: this is not JSON"),
            ("t.jsonl", '{"text": 7}', {}, "line 1: there is no text in text"),
            ("t.jsonl", "7", {}, "line 1: write an object or a text"),
            ("t.txt", "a", {"column": "text"}, "columns need .csv or .jsonl"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, name: str, text: str, options: dict[str, str], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            list(read_texts(lines(text), name, **options))

    def test_bytes_that_are_not_utf8(self) -> None:
        text = io.TextIOWrapper(io.BytesIO(b"one\n\xff\n"), encoding="utf-8")
        with pytest.raises(ConfigError, match="as UTF-8 text"):
            list(read_texts(text, "t.txt"))


class TestWrite:
    def test_json_is_one_list(self) -> None:
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

    def test_json_of_results_that_end_too_early_can_be_read(self) -> None:
        def results() -> Iterator[tuple[Input, Prediction | TextError]]:
            yield RESULTS[0]
            raise ConfigError("no more")

        out = io.StringIO()
        with pytest.raises(ConfigError):
            write_json(results(), out)
        assert len(json.loads(out.getvalue())) == 1

    def test_json_of_nothing(self) -> None:
        out = io.StringIO()
        write_json([], out)
        assert json.loads(out.getvalue()) == []

    def test_json_lines(self) -> None:
        out = io.StringIO()
        write_jsonl(RESULTS, out)
        rows = [json.loads(line) for line in out.getvalue().splitlines()]
        assert [row["text"] for row in rows] == ["one, two", 'say "x"', ""]

    def test_csv_can_be_read_back(self) -> None:
        out = io.StringIO(newline="")
        write_csv(RESULTS, out)
        rows = list(csv.DictReader(lines(out.getvalue())))
        assert [row["text"] for row in rows] == ["one, two", 'say "x"', ""]
        assert rows[1]["text_pair"] == "line\nbreak"
        assert float(rows[0]["probability"]) == 0.75
        assert json.loads(rows[0]["probabilities"]) == {"a": 0.75, "ä": 0.25}
        assert json.loads(rows[2]["error"])["code"] == "empty_text"

from __future__ import annotations

import io
from typing import Any

import pytest

from bertserve import Pair, TextError
from bertserve.errors import ConfigError
from bertserve.files import read_rows, read_texts


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

    @pytest.mark.parametrize("header", ["text;id", "text|id", "text\tid"])
    def test_other_separators_are_no_part_of_a_text(self, header: str) -> None:
        with pytest.raises(ConfigError, match="seems to have columns that .* stands between"):
            list(read_texts(lines(f"{header}\ngood;1\n"), "t.csv"))
        assert list(read_texts(lines(f"{header}\ngood;1\n"), "t.csv", header)) == ["good;1"]

    @pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
    def test_a_quote_that_is_not_closed_swallows_nothing(self, name: str) -> None:
        with pytest.raises(ConfigError, match="unexpected end of data"):
            list(read_texts(lines('text\n"good\nbad\n'), name))

    def test_numbers_that_json_does_not_have(self) -> None:
        with pytest.raises(ConfigError, match="line 1: this is not JSON .NaN"):
            list(read_texts(lines('{"text": "good", "id": NaN}'), "t.jsonl"))

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
            ("t.jsonl", '{"body": "a"}', {}, "no column text, only body; choose with --column"),
            ("t.txt", "a", {"column": "text"}, "columns need .csv, .tsv or .jsonl"),
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


class TestRows:
    """What a row keeps, and rows that have no text."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("t.csv", "id,text,n\n1,one,x\n2,,y\n3\n4,four,\n"),
            ("t.tsv", "id\ttext\tn\n1\tone\tx\n2\t\ty\n3\n4\tfour\t\n"),
        ],
    )
    def test_columns_are_kept_and_no_row_is_shifted(self, name: str, text: str) -> None:
        rows = list(read_rows(lines(text), name, keep=["n", "id"]))
        assert [row.kept for row in rows] == [
            {"n": "x", "id": "1"}, {"n": "y", "id": "2"}, {"n": None, "id": "3"}, {"n": "", "id": "4"},
        ]  # fmt: skip
        missing = TextError("missing_text", "there is no text in text")
        assert [row.text for row in rows] == ["one", "", missing, "four"]
        assert rows[2].shown == {"text": None}

    def test_rows_of_json_may_have_no_text(self) -> None:
        text = '{"id": 1, "q": "one"}\n{"id": 2, "q": null}\n{"id": 3}\nnull\n{"q": 7, "id": [5]}\n'
        rows = list(read_rows(lines(text), "t.jsonl", "q", keep=["id"]))
        assert [row.kept["id"] for row in rows] == [1, 2, 3, None, [5]]
        assert rows[0].text == "one"
        assert [row.text.code for row in rows[1:] if isinstance(row.text, TextError)] == [
            "missing_text", "missing_text", "missing_text", "invalid_type",
        ]  # fmt: skip
        assert str(rows[4].text) == "there is no text in q, but a number"

    def test_the_first_row_may_lack_what_others_have(self) -> None:
        """Some programs leave out what is null."""
        text = '{"id": 1}\n{"id": 2, "text": "two", "n": 5}\n'
        first, second = read_rows(lines(text), "t.jsonl", keep=["n"])
        assert isinstance(first.text, TextError)
        assert (first.kept, second.text, second.kept) == ({"n": None}, "two", {"n": 5})

    def test_pairs_without_their_second_text(self) -> None:
        rows = list(read_rows(lines("text,text_pair\none,two\nthree\n"), "t.csv"))
        assert rows[0].text == Pair("one", "two")
        assert rows[1].text == TextError("missing_text", "there is no text in text_pair")
        assert rows[1].shown == {"text": "three", "text_pair": None}

    def test_a_blank_line_of_one_column_is_a_row_but_at_the_end(self) -> None:
        rows = list(read_rows(lines("text\none\n\n\ntwo\n\n"), "t.csv"))
        assert [row.text for row in rows] == ["one", "", "", "two"]

    def test_a_column_that_is_kept_may_begin_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        many = '{"text": "a"}\n' * 5_000
        *_, last = read_rows(lines(many + '{"text": "b", "n": 1}'), "t.jsonl", keep=["n"])
        assert dict(last.kept) == {"n": 1}
        monkeypatch.setattr("bertserve.files._LOOKED_AT", 1_000)
        with pytest.raises(ConfigError, match="t.jsonl, in its first 1,000 rows, has no column n"):
            list(read_rows(lines(many), "t.jsonl", keep=["n"]))

    @pytest.mark.parametrize(
        ("name", "text", "options", "message"),
        [
            ("t.csv", "text\na\n", {"keep": ["id"]}, "no column id, only text; choose with --keep"),
            ("t.jsonl", '{"text": "a"}', {"keep": ["id"]}, "no column id, only text"),
            ("t.jsonl", '"a"', {"keep": ["id"]}, "no column text, only texts"),
            ("t.txt", "a", {"keep": ["id"]}, "columns need"),
        ],
    )
    def test_columns_that_are_not_there(
        self, name: str, text: str, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            list(read_rows(lines(text), name, **options))

from __future__ import annotations

import random

import pytest

from bertserve.serving.config.properties import parse_properties, write_properties


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a = b ", {"a": "b"}),
        (b"a:b", {"a": "b"}),
        (b"a b", {"a": "b"}),
        (b"# a=b\n! c=d\n", {}),
        (b"a=b # no comment", {"a": "b # no comment"}),
        (b"a=b\\\n   c", {"a": "bc"}),
        (b"a=b\\\\\nc=d", {"a": "b\\", "c": "d"}),
        (b"a=\\u00e9", {"a": "é"}),
        (b"a=\\ud83d\\ude42", {"a": "🙂"}),
        (b"\xef\xbb\xbfa=b", {"a": "b"}),
        ("a=é".encode(), {"a": "é"}),
        (b"a=b\r\nc=d\re=f", {"a": "b", "c": "d", "e": "f"}),
        (b"a=1\na=2", {"a": "2"}),
        (b"a=", {"a": ""}),
        (b"a", {"a": ""}),
    ],
)
def test_a_file_is_read(content: bytes, found: dict[str, str]) -> None:
    assert parse_properties(content) == found


@pytest.mark.parametrize("content", [b"a=\\u12", b"a=\\uxyz", b"\xff", b"a=\\u"])
def test_what_cannot_be_read_is_said(content: bytes) -> None:
    with pytest.raises(ValueError, match="hexadecimal|utf-8"):
        parse_properties(content)


def test_what_is_written_is_read_again() -> None:
    chance = random.Random(14)
    for _ in range(500):
        value = "".join(
            chance.choice("ab\\=:#!\t\n\r\f é我🙂\x01\u202e") for _ in range(12)
        ).strip()
        written = write_properties({"key": value, "other": "x"})
        assert parse_properties(written) == {"key": value, "other": "x"}
        assert written.isascii()
        assert written.count(b"\n") == 2

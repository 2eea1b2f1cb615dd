from __future__ import annotations

import os
from pathlib import Path

import pytest

from bertserve.errors import ConfigError
from bertserve.proxy.tokens import read_tokens


def test_a_file_is_a_caller(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("5f0c" * 16 + "\n")
    (tmp_path / "search.v2").write_text(" abc-._~+/== ")
    assert read_tokens(tmp_path) == ({"5f0c" * 16: "shop", "abc-._~+/==": "search.v2"}, [])


def test_a_mounted_secret_is_read_through_its_links(tmp_path: Path) -> None:
    """As Kubernetes lays it out, and as it changes it: one link is turned."""
    for time, token in (("..2026_11_27", "old"), ("..2026_11_28", "new")):
        (tmp_path / time).mkdir()
        (tmp_path / time / "shop").write_text(token)
    (tmp_path / "..data").symlink_to("..2026_11_27")
    (tmp_path / "shop").symlink_to("..data/shop")
    assert read_tokens(tmp_path) == ({"old": "shop"}, [])
    (tmp_path / "..data").unlink()
    (tmp_path / "..data").symlink_to("..2026_11_28")
    assert read_tokens(tmp_path) == ({"new": "shop"}, [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b'a" evil; } server { listen 1; ',
        b"a b",
        b"a\nb",
        b"a;b",
        b"a$b",
        b"a\\b",
        b"a\x00b",
        b"{a}",
        "é".encode(),
        b"\xff",
        b"a" * 201,
        b"a" * 10_000_000,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_no_token_lets_nobody_in(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(content)
    (tmp_path / "good").write_text("b" * 200)
    tokens, (problem,) = read_tokens(tmp_path)
    assert tokens == {"b" * 200: "good"}
    assert problem.startswith(f"{tmp_path}/bad ")
    assert "evil" not in problem


@pytest.mark.parametrize("name", ["a b", 'a"', "a;b", "a\nb", "$host", "é"])
def test_a_name_that_is_none_lets_nobody_in(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("abc")
    tokens, (problem,) = read_tokens(tmp_path)
    assert not tokens
    assert repr(name) in problem


def test_of_two_with_one_token_the_second_is_refused(tmp_path: Path) -> None:
    """nginx takes a token in either case for the same, and refuses to start with both."""
    (tmp_path / "a").write_text("TOKEN")
    (tmp_path / "b").write_text("token")
    tokens, (problem,) = read_tokens(tmp_path)
    assert tokens == {"TOKEN": "a"}
    assert problem == f"{tmp_path}/b has the token of a; make one for each caller"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "shop").write_text("token")
    tokens, (problem,) = read_tokens(tmp_path)
    assert tokens == {"token": "shop"}
    assert "pipe is no file" in problem


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to("nowhere")
    tokens, (problem,) = read_tokens(tmp_path)
    assert not tokens
    assert "gone cannot be read (No such file or directory)" in problem
    with pytest.raises(ConfigError, match="name one with a file for each caller with --tokens"):
        read_tokens(tmp_path / "nowhere")

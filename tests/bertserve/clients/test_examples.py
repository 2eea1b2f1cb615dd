"""Requests to copy run, whatever a text holds, and give the answer."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from bertserve import Pair
from bertserve.clients import snippets
from serving import http_server

ODD = 'it\'s "here" $KEY `date` \\ \n {x} ${y} 我'
TEXTS: list[str | Pair] = ["Where is my parcel?", ODD, Pair("a'", 'b"')]
received: list[tuple[str, str | None, object]] = []


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        received.append((self.path, self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"positive": 1}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    received.clear()
    with http_server(Answers) as found:
        yield found


@pytest.mark.parametrize("needs_key", [True, False])
@pytest.mark.parametrize("text", TEXTS, ids=str)
@pytest.mark.parametrize(("name", "program"), [("curl", "sh"), ("JavaScript", "node")])
def test_a_request_runs_as_it_is_copied(
    name: str, program: str, text: str | Pair, needs_key: bool, url: str
) -> None:
    needed = {"sh": "curl", "node": "node"}[program]
    if not shutil.which(needed):
        pytest.skip(f"{needed} is not installed")
    copied = snippets(url, "support", "1.0", [text], needs_key)[name]
    options = ["--input-type=module"] if program == "node" else []
    done = subprocess.run(
        [program, *options, "-"] if program == "node" else [program],
        input=copied,
        env={**os.environ, "KEY": "the-key"},
        capture_output=True,
        text=True,
    )
    assert "positive" in done.stdout, done.stderr
    expected = {"text": text} if isinstance(text, str) else vars(text)
    key = "Bearer the-key" if needs_key else None
    assert received == [("/predictions/support/1.0", key, expected)]


def test_python_says_what_is_asked() -> None:
    one = ast.parse(snippets("http://a", "support", None, [TEXTS[1]])["Python"])
    assert ODD in [each.value for each in ast.walk(one) if isinstance(each, ast.Constant)]
    several = snippets("http://a", "support", "2.0", TEXTS)["Python"]
    ast.parse(several)
    assert "from bertserve import Pair" in several
    assert "version='2.0'" in several


def test_half_a_character_is_escaped() -> None:
    assert "\\ud83e" in snippets("http://a", "m", None, ["\ud83e"])["curl"]
    assert all(each.encode() for each in snippets("http://a", "m", None, ["\ud83e"]).values())

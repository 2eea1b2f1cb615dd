"""The client against answers that a healthy server does not give; the others are end-to-end tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from bertserve import Client, Prediction, TextError
from bertserve.errors import ClientError


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """Gives the URL of a server that answers every request with one status and body."""
    servers: list[ThreadingHTTPServer] = []

    def serve(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Keep the tests' output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (503, b'{"code": 503, "type": "X", "message": "no worker"}', "answered 503: no worker"),
        (404, b'{"code": 404, "message": "Model not found: x"}', "404: Model not found: x"),
        (502, b"<html>bad gateway</html>", "answered 502: no reason given"),
        (200, b"", "answered 200: no reason given"),
    ],
)
def test_an_answer_that_is_not_the_model_s_is_an_error(
    answering: Callable[[int, bytes], str], status: int, body: bytes, message: str
) -> None:
    with (
        Client("x", url=answering(status, body)) as client,
        pytest.raises(ClientError, match=message),
    ):
        client.classify("a text")


def test_a_server_that_is_not_there_is_an_error() -> None:
    with (
        Client("x", url="http://127.0.0.1:9") as client,
        pytest.raises(ClientError, match=r"no answer from http://127.0.0.1:9 \(ConnectError\)"),
    ):
        client.classify("a text")


def test_errors_for_every_text_are_results(answering: Callable[[int, bytes], str]) -> None:
    error = {"error": {"code": "empty_text", "message": "empty", "index": 0}}
    with Client("x", url=answering(422, json.dumps([error]).encode())) as client:
        (result,) = client.classify([""])
    assert isinstance(result, TextError)
    assert (result.code, result.fields) == ("empty_text", {"index": 0})


def test_a_label_named_error_is_no_error(answering: Callable[[int, bytes], str]) -> None:
    with Client("x", url=answering(200, b'[{"error": 0.75, "fine": 0.25}]')) as client:
        (result,) = client.classify(["a text"])
    assert isinstance(result, Prediction)
    assert (result.label, result.probability) == ("error", 0.75)

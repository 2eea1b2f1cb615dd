"""The client against answers that a healthy server does not give; the others are end-to-end tests."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import grpc
import httpx
import pytest

from bertserve import Client, GrpcClient, Prediction, TextError
from bertserve.clients.grpc_transport import _accepted, as_client_error
from bertserve.clients.http_transport import read_response
from bertserve.errors import (
    ClientError,
    ConfigError,
    KeyRefused,
    ModelNotFound,
    TimedOut,
    TooLarge,
    Unavailable,
    WorkerDied,
)


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """Gives the URL of a server that answers every request with one status and body."""
    servers: list[ThreadingHTTPServer] = []

    def serve(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: Any) -> None:
                """Keep the tests' output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (503, b'{"code": 503, "message": "no worker"}', Unavailable, "now: no worker .503."),
        (500, b'{"code": 500, "message": "Worker died."}', WorkerDied, "Worker died"),
        (507, b'{"code": 507, "message": "Worker died."}', WorkerDied, "Worker died"),
        (401, b'{"error": {"message": "no"}}', KeyRefused, "no reason given"),
        (404, b'{"error": {"code": "a", "message": "b"}}', ModelNotFound, "no such model"),
        (503, b'{"error": {"code": "overloaded", "message": "b"}}', Unavailable, "now"),
        (429, b'{"error": {"code": "rate_limited", "message": "b"}}', Unavailable, "now: b .429."),
        (413, b'{"error": {"code": "too_large", "message": "b"}}', TooLarge, "max_request_size: b"),
        (422, b'{"error": {"code": "empty_text", "message": "b"}}', TextError, "b"),
        (422, b'{"error": {"code": 7}}', ClientError, "no reason given .422."),
        (500, b'{"code": 500, "message": "else"}', ClientError, "an error: else .500."),
        (404, b'{"code": 404, "message": "Model not found: x"}', ModelNotFound, "not found: x"),
        (413, b'{"code": 413, "message": "large"}', TooLarge, "max_request_size: large"),
        (400, b'{"type": "InvalidKeyException", "message": "key"}', KeyRefused, "the key: key"),
        (401, b"", KeyRefused, "refuses the key: no reason given .401."),
        (502, b"<html>bad gateway</html>", Unavailable, "no reason given .502."),
        (418, b"[", ClientError, "no reason given .418."),
        (200, b"", ClientError, "not one of this protocol"),
    ],
)
def test_an_answer_that_is_not_the_model_s_is_an_error(
    answering: Callable[[int, bytes], str],
    status: int,
    body: bytes,
    error: type[ClientError],
    message: str,
) -> None:
    with (
        Client("x", url=answering(status, body), deadline=0) as client,
        pytest.raises(error, match=message),
    ):
        client.classify("a text")


@pytest.mark.parametrize(
    ("named", "seconds"), [("7", 7), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("-1", 0), ("", 0)]
)
def test_the_pause_that_a_proxy_names(named: str, seconds: float) -> None:
    with pytest.raises(Unavailable) as raised:
        read_response(httpx.Response(429, headers={"Retry-After": named}))
    assert raised.value.retry_after == seconds


def test_a_server_that_is_not_there_is_an_error() -> None:
    with (
        Client("x", url="http://127.0.0.1:9", deadline=0) as client,
        pytest.raises(Unavailable, match=r"no answer from http://127.0.0.1:9 \(ConnectError\)"),
    ):
        client.classify("a text")
    with (
        GrpcClient("x", target="127.0.0.1:9", deadline=0) as grpc_client,
        pytest.raises(Unavailable, match=r"no answer from 127.0.0.1:9 .*is the server running"),
    ):
        grpc_client.classify("a text")


def test_a_server_that_is_not_there_is_not_ready() -> None:
    nowhere = "127.0.0.1:9"
    with Client("x", management_url=f"http://{nowhere}") as client:
        assert client.ready() is False
    with GrpcClient("x", management_target=nowhere) as grpc_client:
        assert grpc_client.ready() is False


def test_an_address_that_is_none_is_an_error() -> None:
    with Client("x", url="nowhere") as client, pytest.raises(ClientError, match="cannot be used"):
        client.classify("a text")


def test_a_server_that_is_silent_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            Client("x", url=f"http://{address}", timeout=0.2) as client,
            pytest.raises(TimedOut, match="in time"),
        ):
            client.classify("a text")
        with (
            GrpcClient("x", target=address, timeout=0.2) as grpc_client,
            pytest.raises(TimedOut, match="in time"),
        ):
            grpc_client.classify("a text")


@pytest.mark.parametrize(
    ("code", "details", "error"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "Token is incorrect", KeyRefused),
        (grpc.StatusCode.INTERNAL, "Model not found: x\n…ModelNotFoundException", ModelNotFound),
        (grpc.StatusCode.NOT_FOUND, "x", ModelNotFound),
        (grpc.StatusCode.INTERNAL, "Worker died.\n…InternalServerException", WorkerDied),
        (grpc.StatusCode.INTERNAL, "Model x has no worker to serve it", Unavailable),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", Unavailable),
        (grpc.StatusCode.UNKNOWN, "Stream removed", Unavailable),
        (grpc.StatusCode.UNAVAILABLE, "failed to connect", Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max", TooLarge),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", TimedOut),
        (grpc.StatusCode.INTERNAL, "else", ClientError),
    ],
)
def test_a_grpc_status_is_told_by_what_it_says(
    code: grpc.StatusCode, details: str, error: type[ClientError]
) -> None:
    class Failed:
        def code(self) -> grpc.StatusCode:
            return code

        def details(self) -> str:
            return details

    found = as_client_error(Failed(), "127.0.0.1:7070", size=100_000)
    assert type(found) is error
    assert "\n" not in str(found)


@pytest.mark.parametrize("code", ["overloaded", "explanations_paused"])
def test_an_answer_over_grpc_that_another_try_may_mend_is_none(code: str) -> None:
    with pytest.raises(Unavailable, match="cannot answer now"):
        _accepted(f'{{"error":{{"code":"{code}","message":"later"}}}}'.encode())
    for other in (b'{"error":{"code":"empty_text","message":"empty"}}', b'{"overloaded":1.0}'):
        assert _accepted(other) == other


@pytest.mark.parametrize("status", [429, 503])
def test_an_answer_over_http_that_another_try_may_mend_is_none(status: int) -> None:
    error = {"error": {"code": "explanations_paused", "message": "later"}}
    with pytest.raises(Unavailable, match="later"):
        read_response(httpx.Response(status, json=error))


def test_what_breaks_off_a_small_message_is_no_matter_of_its_size() -> None:
    class Failed:
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.RESOURCE_EXHAUSTED

        def details(self) -> str:
            return "rate limit"

    assert type(as_client_error(Failed(), "127.0.0.1:7070", size=1_000)) is Unavailable


def test_a_key_that_cannot_be_sent_is_said_at_once(answering: Callable[[int, bytes], str]) -> None:
    url = answering(200, b'{"a": 1.0}')
    with Client("x", url=url, key="schlüssel") as client, pytest.raises(ClientError, match="ASCII"):
        client.classify("a text")
    with Client("x", url=url, key="key\n") as client:
        assert client.classify("a text").label == "a"


def test_tls_to_a_server_without_it_is_said_at_once(answering: Callable[[int, bytes], str]) -> None:
    url = answering(200, b"").replace("http:", "https:")
    with Client("x", url=url) as client, pytest.raises(ClientError, match="cannot be used"):
        client.classify("a text")


def test_a_proxy_does_not_come_between_on_this_machine(
    answering: Callable[[int, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Client("x", url=answering(200, b'{"a": 1.0}'), deadline=0) as client:
        assert client.classify("a text").label == "a"


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    for client in (Client("x", key_file=tmp_path / "k"), GrpcClient("x", key_file=tmp_path / "k")):
        with client:
            assert client.ready() is False
            with pytest.raises(Unavailable, match="holds no readable inference key"):
                client.classify("a text")


@pytest.mark.parametrize("make", [Client, GrpcClient])
def test_a_key_file_of_nobody_s_home(make: type[Client | GrpcClient]) -> None:
    with pytest.raises(ConfigError, match="give the whole path"):
        make("x", key_file="~there-is-no-such-user/key_file.json")


def test_closing_a_client_ends_its_pauses(answering: Callable[[int, bytes], str]) -> None:
    asked = Event()

    def texts() -> Iterator[str]:
        yield from ["a text"] * 33
        asked.wait(60)
        raise KeyboardInterrupt

    with Client("x", url=answering(503, b"")) as client:
        Timer(0.5, asked.set).start()
        with pytest.raises(KeyboardInterrupt):
            client.classify(texts())


def test_what_a_failing_source_gave_is_classified(answering: Callable[[int, bytes], str]) -> None:
    def texts() -> Iterator[str]:
        yield "a text"
        raise ValueError("no more")

    with Client("x", url=answering(200, b'[{"a": 1.0}]')) as client:
        results = client.classify_each(texts())
        assert isinstance(next(results), Prediction)
        with pytest.raises(ValueError, match="no more"):
            next(results)


@pytest.mark.parametrize("text", [None, float("nan"), ("a", "b"), 7])
def test_what_is_no_text_is_a_mistake_of_the_caller(text: Any) -> None:
    with Client("x") as client, pytest.raises(TypeError, match="a text is a str or a Pair, not a"):
        client.classify([text])


def test_results_can_go_to_another_process() -> None:
    for error in (
        TextError("empty_text", "empty", index=3),
        TooLarge("large"),
        TooLarge("m", "answer_too_large", bytes=3),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy, str(copy)) == (type(error), error, error.message)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"[7]", b'[{"customizedMetadata": {}}]'])
def test_garbage_from_management_is_a_client_error(
    answering: Callable[[int, bytes], str], body: bytes
) -> None:
    with Client("x", management_url=answering(200, body)) as client:
        for call in (client.ready, client.describe, client.models):
            with pytest.raises(ClientError, match="not one of this protocol"):
                call()


def test_errors_for_every_text_are_results(answering: Callable[[int, bytes], str]) -> None:
    error = {"error": {"code": "empty_text", "message": "empty", "index": 0}}
    with Client("x", url=answering(422, json.dumps([error]).encode())) as client:
        (result,) = client.classify([""])
    assert isinstance(result, TextError)
    assert (result.code, result.fields) == ("empty_text", {})


def test_a_label_named_error_is_no_error(answering: Callable[[int, bytes], str]) -> None:
    with Client("x", url=answering(200, b'[{"error": 0.75, "fine": 0.25}]')) as client:
        (result,) = client.classify(["a text"])
    assert isinstance(result, Prediction)
    assert (result.label, result.probability) == ("error", 0.75)

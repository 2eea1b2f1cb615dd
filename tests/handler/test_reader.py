"""TorchServe's messages mean the same, read either way."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import pytest
from ts.protocol import otf_message_handler

from handler.reader import buffered_reader, install, read_in_large_pieces


def field(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value


def message(requests: int) -> bytes:
    end = struct.pack("!i", -1)
    rows = b""
    for number in range(requests):
        headers = field(b"url_path") + field(b"") + field(b"User-Agent") + field(b"x" * number * 7)
        body = field(b"body") + field(b"application/json") + field(b"{}" * number * 9_000)
        rows += field(b"id-%d" % number) + headers + end + body + end
    return b"I" + rows + end


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(os.environ, "TS_DECODE_INPUT_REQUEST", "false")
    monkeypatch.setattr(
        otf_message_handler, "_retrieve_buffer", otf_message_handler._retrieve_buffer
    )
    return otf_message_handler


def read(data: bytes, reader: Any, messages: int) -> list[Any]:
    ours, its = socket.socketpair()
    with ours, its:
        from threading import Thread

        sender = Thread(target=ours.sendall, args=(data,))
        sender.start()
        found = [reader.retrieve_msg(its) for _ in range(messages)]
        sender.join()
    return found


def test_messages_are_read_as_torchserve_reads_them(theirs: Any) -> None:
    data = message(0) + message(1) + message(32)
    expected = read(data, theirs, 3)
    install(theirs)
    assert read(data, theirs, 3) == expected
    assert len(expected[2][1]) == 32


def test_a_front_end_that_is_gone_ends_the_worker() -> None:
    ours, its = socket.socketpair()
    with its:
        ours.sendall(b"ab")
        ours.close()
        reader = buffered_reader()
        assert reader(its, 1) == b"a"
        with pytest.raises(SystemExit) as ended:
            reader(its, 2)
    assert ended.value.code == 0


def test_a_torchserve_of_another_source_is_left_alone(
    theirs: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = theirs._retrieve_buffer
    monkeypatch.setattr("inspect.getsource", lambda _: "another")
    assert not read_in_large_pieces()
    assert theirs._retrieve_buffer is before
    assert "read more slowly" in caplog.text
    monkeypatch.undo()
    assert read_in_large_pieces()
    assert theirs._retrieve_buffer is not before
    theirs._retrieve_buffer = before

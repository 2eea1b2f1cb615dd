"""The signs of life of a worker."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from handler.heartbeat import FOLDER, LAYOUT, Heartbeat


def test_a_worker_tells_when_it_had_a_moment_and_what_it_is_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    before = time.monotonic()
    pulse = Heartbeat()
    file = tmp_path / str(os.getpid())

    def told() -> tuple[float, float]:
        return LAYOUT.unpack(file.read_bytes())

    assert told()[0] >= before
    assert told()[1] == 0
    with pulse.busy():
        begun = told()[1]
        assert before < begun <= time.monotonic()
    assert told()[1] == 0
    with pytest.raises(ZeroDivisionError), pulse.busy():
        _ = 1 / 0
    assert told()[1] == 0
    first, deadline = told()[0], time.monotonic() + 60
    while told()[0] == first:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_where_nobody_watches_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    with Heartbeat().busy():
        pass
    monkeypatch.setenv(FOLDER, str(tmp_path / "missing"))
    with Heartbeat().busy():
        pass
    assert list(tmp_path.iterdir()) == []

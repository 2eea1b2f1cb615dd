"""One rollout at a time, whoever asks."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bertserve.console import rolling
from bertserve.console.rolling import Rollouts
from bertserve.errors import ConfigError, ServerError


@pytest.fixture
def may_look(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the store may be looked at; it offers nothing."""
    event = threading.Event()

    class Versions:
        def __init__(self, _: Any) -> None:
            pass

        def offered(self) -> Any:
            event.wait()
            return [], ["half-copied.mar is no archive"]

        def all(self) -> list[Any]:
            return []

    monkeypatch.setattr(rolling, "Versions", Versions)
    return event


@pytest.fixture
def rollouts() -> Rollouts:
    server: Any = SimpleNamespace(addresses=SimpleNamespace(path="config.properties"))
    return Rollouts(lambda: server)


def test_of_two_that_ask_at_once_one_is_refused(
    may_look: threading.Event, rollouts: Rollouts
) -> None:
    async def both() -> None:
        first = asyncio.create_task(rollouts.start({"file": "b.mar"}))
        await asyncio.sleep(0)  # it looks into the store now
        with pytest.raises(ServerError, match="under way"):
            await rollouts.start({"file": "b.mar"})
        may_look.set()
        with pytest.raises(ConfigError, match="not in the model store"):
            await first
        assert rollouts.shown.value == {"state": "idle"}
        with pytest.raises(ConfigError, match="not in the model store"):  # nothing is under way
            await rollouts.start({"file": "b.mar"})

    asyncio.run(both())


def test_what_cannot_be_read_is_told_beside_the_others(
    may_look: threading.Event, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_look.set()
    monkeypatch.setattr(rolling, "former_defaults", lambda _: {})
    found = rollouts.offered()
    assert found == {"archives": [], "former": {}, "problems": ["half-copied.mar is no archive"]}


@pytest.mark.parametrize(
    ("code", "state"),
    [("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "stopped"), ("1 / 0", "failed")],
)
def test_what_ends_before_it_has_begun(
    code: str, state: str, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Versions:
        def __init__(self, _: Any) -> None:
            pass

        def offered(self) -> Any:
            return [SimpleNamespace(path=tmp_path / "b.mar", name="b", version="2")], []

    monkeypatch.setattr(rolling, "Versions", Versions)
    monkeypatch.setattr(rolling, "_CODE", code)

    async def begin_and_end() -> None:
        await rollouts.start({"file": "b.mar"})
        assert rollouts._following
        await rollouts._following

    asyncio.run(begin_and_end())
    assert rollouts.shown.value["state"] == state

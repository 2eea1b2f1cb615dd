"""What is looked at while anybody watches, and not a moment longer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from bertserve.console.live import Live, Posted
from bertserve.errors import NotRunning


async def first(values: AsyncIterator[Any], count: int) -> list[Any]:
    found = []
    async for value in values:
        found.append(value)
        if len(found) == count:
            break
    await values.aclose()  # type: ignore[attr-defined]
    return found


def test_nobody_watches_so_nobody_looks() -> None:
    looks: list[int] = []

    async def run() -> None:
        live = Live(lambda: looks.append(1) or len(looks), every=0.001)  # type: ignore[func-returns-value]
        assert await first(live.values(), 3) == [1, 2, 3]
        assert not live.is_watched
        seen = len(looks)
        await asyncio.sleep(0.05)
        assert len(looks) <= seen + 1  # the look that was under way
        assert await first(live.values(), 1)

    asyncio.run(run())


def test_several_watch_and_one_looks() -> None:
    looks: list[int] = []

    async def run() -> None:
        live = Live(lambda: looks.append(1) or len(looks), every=0.01)  # type: ignore[func-returns-value]
        await asyncio.gather(*(first(live.values(), 5) for _ in range(4)))
        assert len(looks) < 4 * 5

    asyncio.run(run())


def test_an_error_is_shown_in_the_place_of_a_value() -> None:
    def look() -> None:
        raise NotRunning("no server is running")

    found = asyncio.run(first(Live(look, every=1).values(), 1))
    assert found == [{"error": {"code": "NotRunning", "message": "no server is running"}}]


def test_what_is_posted_reaches_who_watches_from_any_thread() -> None:
    async def run() -> None:
        posted = Posted("a")
        values = posted.values()
        assert await anext(values) == "a"
        threading.Thread(target=posted.post, args=["b"]).start()
        assert await anext(values) == "b"
        posted.post("c")
        posted.post("d")
        assert await anext(values) == "d"
        assert await anext(posted.values()) == "d"

    asyncio.run(run())

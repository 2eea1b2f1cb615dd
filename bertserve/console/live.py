"""What is looked at again and again, but only while anybody watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool

from ..errors import BertserveError
from .replies import problem


class Live:
    """Values for any number of watchers, from one look at a time.

    look    blocks, and gives a value that is shown as JSON; an error of ours is shown in its place
    every   seconds between looks
    """

    def __init__(self, look: Callable[[], Any], every: float) -> None:
        self._look = look
        self._every = every
        self._watchers: set[asyncio.Queue[Any]] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    async def values(self) -> AsyncIterator[Any]:
        """What is seen from now on, until whoever asks goes away; who is slow gets the latest."""
        queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        self._watchers.add(queue)
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())
        else:  # who comes later does not wait for the next look
            _give(queue, await self._seen())
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)
            if not self._watchers and self._looking:
                self._looking.cancel()
                self._looking = None

    async def _keep_looking(self) -> None:
        while True:
            seen = await self._seen()
            for queue in self._watchers:
                _give(queue, seen)
            await asyncio.sleep(self._every)

    async def _seen(self) -> Any:
        try:
            return await run_in_threadpool(self._look)
        except BertserveError as error:
            return problem(error)


def _give(queue: asyncio.Queue[Any], value: Any) -> None:
    """The latest, in the place of one that was not taken yet."""
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(value)


class Posted:
    """A value for any number of watchers, which changes when somebody says so."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()

    def post(self, value: Any) -> None:
        """Show another value; from any thread, once anybody has watched."""
        self.value = value
        if self._loop:
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def values(self) -> AsyncIterator[Any]:
        """The value, and each that follows; who is slow gets the latest."""
        self._loop = asyncio.get_running_loop()
        shown: Any = self  # nothing that was posted
        while True:
            changed = self._changed
            if self.value is not shown:
                shown = self.value
                yield shown
                continue
            await changed.wait()

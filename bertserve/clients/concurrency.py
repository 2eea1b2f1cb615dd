"""How clients wait: by blocking, or by awaiting. What they have to say is written once, as coroutines.

A blocking client's coroutines run from beginning to end at the first step, since all that they call
blocks, see `finish`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any, Protocol, TypeVar, cast

from ..errors import Unavailable

Result = TypeVar("Result")


class Mode(Protocol):
    """How to wait: by blocking, or by awaiting what is returned."""

    def sleep(self, seconds: float) -> Awaitable[None] | None:
        """Wait."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that blocks."""

    def start(self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        """Run a coroutine function beside others; what is returned can be done() and cancel()."""

    def result(self, started: Any) -> Any:
        """The result of what was started."""

    def close(self) -> None:
        """End what is started and asleep."""


class Blocking:
    """Waits by blocking; what is started runs in threads, `in_flight` at once."""

    def __init__(self, in_flight: int) -> None:
        self._closed = Event()
        self._pool = ThreadPoolExecutor(in_flight)

    def sleep(self, seconds: float) -> None:
        """Wait, unless the client is closed."""
        if self._closed.wait(seconds):
            raise Unavailable("the client was closed before an answer came")

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call it."""
        return function(*arguments)

    def start(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
    ) -> Future[Any]:
        """Run it in a thread."""
        return self._pool.submit(lambda: finish(function(*arguments)))

    def result(self, started: Future[Any]) -> Any:
        """Wait for the thread."""
        return started.result()

    def close(self) -> None:
        """End what is asleep; what is under way is not waited for."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)


class Asynchronous:
    """Waits by awaiting."""

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait."""
        return asyncio.sleep(seconds)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """Call it in a thread, since the loop must not block."""
        return asyncio.to_thread(function, *arguments)

    def start(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
    ) -> asyncio.Task[Any]:
        """Run it as a task."""
        return asyncio.create_task(function(*arguments))

    def result(self, started: asyncio.Task[Any]) -> Awaitable[Any]:
        """The task, to be awaited."""
        return started

    def close(self) -> None:
        """Nothing: tasks belong to their loop."""


async def settle(value: Awaitable[Result] | Result) -> Result:
    """The value, awaited where it comes from an asynchronous library."""
    return await value if inspect.isawaitable(value) else value


def finish(awaitable: Awaitable[Result]) -> Result:
    """The result of an awaitable that never has to wait, since all that it calls blocks."""
    steps = awaitable.__await__()
    try:
        steps.send(None)
    except StopIteration as stop:
        return cast("Result", stop.value)
    steps.close()
    raise RuntimeError("a blocking client was given something to await")

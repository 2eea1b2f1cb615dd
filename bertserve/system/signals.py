"""Ctrl-C, and the signals that commands take for it, while something must not be left half done.

They reach the main thread alone, so that elsewhere there is nothing to do.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def as_ctrl_c() -> None:
    """Have SIGTERM and SIGHUP do what Ctrl-C does: what was begun is undone, nothing is left running."""
    for ending in ENDINGS[1:]:
        if signal.getsignal(ending) is not signal.SIG_IGN:  # nohup
            signal.signal(ending, signal.default_int_handler)


@contextmanager
def postponed() -> Iterator[None]:
    """Let Ctrl-C, a SIGTERM and a SIGHUP come when the block is done."""
    came: list[int] = []
    try:
        with _handled(ENDINGS, lambda number, _: came.append(number)):
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)


@contextmanager
def heeded() -> Iterator[Callable[[], None]]:
    """Gives what raises KeyboardInterrupt if one was raised in the block before and got lost.

    Python, and gRPC, swallow an exception that comes while they clear away an object.
    """
    came: list[int] = []

    def heed() -> None:
        if came:
            raise KeyboardInterrupt

    def handler(number: int, _: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    raising = [each for each in ENDINGS if signal.getsignal(each) is signal.default_int_handler]
    with _handled(tuple(raising), handler):
        yield heed


@contextmanager
def ignored() -> Iterator[None]:
    """Let no second Ctrl-C interrupt what the first one began."""
    with _handled(ENDINGS, signal.SIG_IGN):
        yield


@contextmanager
def _handled(
    numbers: tuple[signal.Signals, ...], handler: Callable[[int, Any], None] | signal.Handlers
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, handler) for each in numbers}
    try:
        yield
    finally:
        for each, former in before.items():
            signal.signal(each, former)

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from bertserve.system.signals import ENDINGS, as_ctrl_c, heeded, ignored, postponed


@pytest.fixture(autouse=True)
def _as_ctrl_c() -> Iterator[None]:
    """As the commands have it; a runner may have left them ignored."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in ENDINGS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_comes_when_the_block_is_done(number: signal.Signals) -> None:
    steps: list[str] = []

    def interrupted() -> None:
        with postponed():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            steps.append("in the block")
        steps.append("after it")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps == ["in the block"]
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_signal_comes_after_an_error_too() -> None:
    def fails() -> None:
        with postponed():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as raised:
        fails()
    assert isinstance(raised.value.__context__, ValueError)


class Swallowing:
    """What is cleared away when a signal comes, as gRPC's objects may be."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        with suppress(BaseException):
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_that_got_lost_comes_later(number: signal.Signals) -> None:
    with heeded() as heed:
        heed()
        Swallowing(number)
        with pytest.raises(KeyboardInterrupt):
            heed()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)  # a further one comes at once, as ever
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_signal_that_is_no_ctrl_c_stays_what_it_is() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with heeded() as heed:
        os.kill(os.getpid(), signal.SIGHUP)
        heed()


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_is_ignored(number: signal.Signals) -> None:
    with ignored():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.default_int_handler


@pytest.mark.parametrize("block", [postponed, heeded, ignored])
def test_other_threads_have_no_signals(block: Callable[[], object]) -> None:
    ended: list[bool] = []

    def run() -> None:
        with block():  # type: ignore[attr-defined]
            ended.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [True]


@pytest.mark.parametrize("number", ENDINGS)
def test_endings_do_what_ctrl_c_does(number: signal.Signals) -> None:
    for each in ENDINGS[1:]:
        signal.signal(each, signal.SIG_DFL)
    as_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_nohup_goes_on_working() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    as_ctrl_c()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.raise_signal(signal.SIGHUP)

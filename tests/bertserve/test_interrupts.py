import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from bertserve.interrupts import ENDINGS, ignored, postponed


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


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_is_ignored(number: signal.Signals) -> None:
    with ignored():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.default_int_handler


@pytest.mark.parametrize("block", [postponed, ignored])
def test_other_threads_have_no_signals(block: Callable[[], object]) -> None:
    ended: list[bool] = []

    def run() -> None:
        with block():  # type: ignore[attr-defined]
            ended.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [True]

"""The console at every width and in both colours, and rollouts that are cut off in the middle."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from bertserve.serving.server import Server
from bertserve.versions.versions import Versions
from console_parts import AS_BEFORE, begin, label_all, walk_through, watched
from consoles import SCHEMES, WIDTHS, Visitor
from faults import our_callers
from serving import served, wait_until


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_walk_through_all_parts(
    width: int, scheme: str, visitor: Visitor, tmp_path: Path
) -> None:
    walk_through(visitor, width, scheme, label_all(tmp_path / "labelled.jsonl"))


def test_a_rollout_is_stopped_from_the_page(console_server: Server, visitor: Visitor) -> None:
    with visitor.page("rollout") as page, our_callers(console_server) as seen:
        begin(page, 600)
        watched(page)
        page.get_by_role("button", name="Stop and put back").click()
        page.get_by_role("heading", name="everything is as before").wait_for()
        assert served(Versions(console_server)) == AS_BEFORE
        page.get_by_text("No archive of the model store waits").wait_for()  # it is retired
    seen.assert_whole()


def test_a_rollout_goes_on_when_the_browser_is_closed(
    console_server: Server, visitor: Visitor
) -> None:
    with visitor.page("rollout") as page:
        begin(page, 2)
        page.get_by_role("heading", name="Rolling out").wait_for()
    with visitor.page("rollout") as page:
        page.get_by_role("heading", name="Rolled out: tiny 2.0").wait_for()
    assert served(Versions(console_server)) == {"1.0": False, "2.0": True}


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_rollout_is_undone_when_the_console_ends(
    ending: signal.Signals, console_server: Server, visitor: Visitor
) -> None:
    process = visitor.console.process
    with our_callers(console_server) as seen, visitor.page("rollout") as page:
        begin(page, 600)
        watched(page)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        page.goto("about:blank")  # whose page says that the console is away
        os.kill(process.pid, ending)
        wait_until(lambda: served(Versions(console_server)) == AS_BEFORE)
        psutil.wait_procs(children)
    seen.assert_whole()

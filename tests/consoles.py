"""A console of the tests: a process beside a server, and browsers that look at it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from serving import PATIENCE, environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")


@dataclass(frozen=True)
class Console:
    """The address that it printed, which opens once, and its process."""

    address: str
    process: subprocess.Popen[str]

    @property
    def base(self) -> str:
        """The address without its token."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"


@contextmanager
def running(config: Path, *options: str) -> Iterator[Console]:
    """A console until the end of the block, unless it ended before."""
    command = [sys.executable, "-m", "bertserve", "console", "--port", "0", "--json", *options]
    process = subprocess.Popen(
        [*command, "--config", str(config)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        printed = ""
        while not printed.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            printed += line
        yield Console(json.loads(printed)["address"], process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium without a window; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    lacking = "Chromium is not installed; scripts/tools chromium does it"
    with ExitStack() as stack:
        try:
            playwright = stack.enter_context(api.sync_playwright())
        except Exception:  # it takes a library that comes with Chromium
            if found:
                raise
            pytest.skip(lacking)
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.skip(lacking)
        # in containers there is no sandbox to be had
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """Pages of one browser that has opened the console, and what is wrong with them."""

    browser: Browser
    console: Console
    state: Any = None

    @contextmanager
    def page(
        self, part: str, width: int = 1280, scheme: Any = "light", *, quiet: bool = True
    ) -> Iterator[Page]:
        """A part of the console; where `quiet` nothing may be said on the browser's own console."""
        context = self.browser.new_context(
            storage_state=self.state,
            viewport={"width": width, "height": 860},
            color_scheme=scheme,
        )
        context.set_default_timeout(60_000)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        if self.state is None:
            page.goto(self.console.address)
            page.get_by_role("heading", name="Try", exact=True).wait_for()
            self.state = context.storage_state()
        page.goto(f"{self.console.base}/#{part}")
        try:
            yield page
            assert not (quiet and said)
        finally:
            context.close()


def check(page: Page) -> None:
    """No violation that axe finds, and nothing wider than the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    width, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= room

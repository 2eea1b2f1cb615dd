"""The console in a real browser, beside a real server: its parts, rollouts, and who is kept out."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest
from console_parts import label_all, walk_through
from consoles import Console, Visitor, chromium, running

from bertserve.clients.canary import read_canaries
from bertserve.serving.config import read_config
from bertserve.serving.server import Server, find
from bertserve.serving.starting import start
from bertserve.versions.rollbacks import rollback
from bertserve.versions.versions import Versions
from commands import run
from faults import our_callers
from serving import http_server, served, wait_until, write_config

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AS_BEFORE = {"1.0": True}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("console"))


@pytest.fixture(scope="module", autouse=True)
def _running(archives: list[Path], config: Path) -> Iterator[None]:
    """It serves 1.0, and 2.0 lies in its model store."""
    store = config.parent / "store"
    store.mkdir()
    shutil.copy(archives[0], store)
    start(read_config(config), store)
    shutil.copy(archives[1], store)
    yield
    find(config).stop()


@pytest.fixture
def server(config: Path, archives: list[Path]) -> Iterator[Server]:
    """It serves 1.0 before each test, whatever the test before did."""
    found = find(config)
    yield found
    versions = Versions(found)
    if served(versions) != AS_BEFORE:
        if not versions.one("tiny", "1.0").default:
            rollback(found, "tiny")
        versions.unregister("tiny", "2.0")
    shutil.copy(archives[1], versions.model_store)  # what is taken away is retired


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def console(config: Path) -> Iterator[Console]:
    with running(config, "--manage") as found:
        yield found


@pytest.fixture
def visitor(browser: Browser, console: Console) -> Visitor:
    return Visitor(browser, console)


def test_a_walk_through_all_parts(visitor: Visitor, tmp_path: Path) -> None:
    """At other widths and in other colours: long/test_console_looks.py."""
    walk_through(visitor, 1280, "light", label_all(tmp_path / "labelled.jsonl"))


def begin(page: Page, watch: int) -> None:
    page.get_by_label("Watch for").fill(str(watch))
    page.get_by_label("Slowdown").fill("1000")
    page.get_by_role("button", name="Roll out", exact=True).click()


def watched(page: Page) -> None:
    page.get_by_text("watching 2.0").wait_for()


def test_a_rollout_from_the_page_under_load_loses_nothing(server: Server, visitor: Visitor) -> None:
    with visitor.page("rollout") as page, our_callers(server) as seen:
        begin(page, 2)
        page.get_by_role("heading", name="Rolled out: tiny 2.0").wait_for()
        page.get_by_role("heading", name="Beside the default, on 32 texts").wait_for()
        assert page.locator("table td").count() > 3  # texts whose label changes
        page.get_by_label("Canary: share of requests for 1.0").fill("20")
        page.get_by_role("button", name="Set", exact=True).click()
        wait_until(lambda: read_canaries(Path(server.directory)))
        assert read_canaries(Path(server.directory))["tiny"].percent == 20
        page.get_by_role("button", name="Roll back to 1.0").click()
        wait_until(lambda: served(Versions(server))["1.0"])
    seen.assert_whole()


def test_a_rollout_is_stopped_from_the_page(server: Server, visitor: Visitor) -> None:
    with visitor.page("rollout") as page, our_callers(server) as seen:
        begin(page, 600)
        watched(page)
        page.get_by_role("button", name="Stop and put back").click()
        page.get_by_role("heading", name="everything is as before").wait_for()
        assert served(Versions(server)) == AS_BEFORE
        page.get_by_text("No archive of the model store waits").wait_for()  # it is retired
    seen.assert_whole()


def test_a_rollout_goes_on_when_the_browser_is_closed(server: Server, visitor: Visitor) -> None:
    with visitor.page("rollout") as page:
        begin(page, 2)
        page.get_by_role("heading", name="Rolling out").wait_for()
    with visitor.page("rollout") as page:
        page.get_by_role("heading", name="Rolled out: tiny 2.0").wait_for()
    assert served(Versions(server)) == {"1.0": False, "2.0": True}


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_rollout_is_undone_when_the_console_ends(
    ending: signal.Signals, server: Server, visitor: Visitor
) -> None:
    process = visitor.console.process
    with our_callers(server) as seen, visitor.page("rollout") as page:
        begin(page, 600)
        watched(page)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        page.goto("about:blank")  # whose page says that the console is away
        os.kill(process.pid, ending)
        wait_until(lambda: served(Versions(server)) == AS_BEFORE)
        psutil.wait_procs(children)
    seen.assert_whole()


def test_the_address_opens_once(console: Console) -> None:
    with httpx.Client() as first, httpx.Client() as second:
        wrong = second.get(f"{console.base}/?token={'a' * 43}")
        assert wrong.status_code == 403
        opened = first.get(console.address)
        assert opened.status_code == 200
        cookie = opened.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
        assert first.get(f"{console.base}/api/models").status_code == 200
        for path in ("/", "/api/models", "/page/app.js", "/quality/report"):
            assert second.get(f"{console.base}{path}").status_code == 403
        again = second.get(console.address)
        assert again.status_code == 403
        assert "opens in one browser, once" in again.json()["error"]["message"]


def test_without_manage_nothing_can_be_changed(config: Path, server: Server) -> None:
    with running(config) as console, httpx.Client() as client:
        client.get(console.address)
        assert client.get(f"{console.base}/api/about").json()["manage"] is False
        for path in ("rollouts", "rollouts/stop", "rollback", "canary"):
            answer = client.post(f"{console.base}/api/{path}", json={"model": "tiny"})
            assert answer.status_code in (404, 405)
    assert served(Versions(server)) == AS_BEFORE


def test_a_page_of_another_origin_gets_nowhere(server: Server, visitor: Visitor) -> None:
    """It is of the same site, for a port makes no other site: the browser sends the cookie along."""
    reached: list[str] = []

    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>foreign</title>")

        def log_message(self, *_: object) -> None:
            pass

    base = visitor.console.base
    with http_server(Foreign) as address, visitor.page("try", quiet=False) as page:
        other = page.context.new_page()
        other.goto(address)
        asked = """async ([base, mode]) => {
          const told = [];
          for (const [path, method] of [["/", "GET"], ["/api/models", "GET"], ["/api/canary", "POST"]]) {
            try {
              const canary = {model: "tiny", version: "1.0", percent: 50};
              const body = method === "POST" ? JSON.stringify(canary) : undefined;
              const response = await fetch(base + path, {method, mode, body, credentials: "include"});
              told.push(await response.text());
            } catch (error) { told.push(""); }
          }
          return told;
        }"""
        for mode in ("cors", "no-cors"):
            assert set(other.evaluate(asked, [base, mode])) == {""}
        shown = other.evaluate(
            """(base) => new Promise((done) => {
              const frame = document.createElement("iframe");
              frame.onload = () => done(frame.contentDocument === null);
              frame.src = base + "/";
              document.body.append(frame);
            })""",
            base,
        )
        assert shown  # an error of the browser's own, of another origin
        assert not read_canaries(Path(server.directory))
        # and a page of ours reaches no other host
        path = f"{address}/stolen"
        assert page.evaluate("(url) => fetch(url).then(() => 1, () => 0)", path) == 0
    assert "/stolen" not in reached


def test_a_console_that_cannot_start_says_why(
    console: Console, config: Path, tmp_path: Path
) -> None:
    port = console.base.rpartition(":")[2]
    taken = run("console", "--port", port, "--config", config)
    assert (taken.returncode, taken.stdout) == (1, "")
    assert f"Error: port {port} cannot be had" in taken.stderr
    alone = run("console", "--port", "0", "--config", write_config(tmp_path))
    assert (alone.returncode, alone.stdout) == (1, "")
    assert "no server is running" in alone.stderr


def test_what_is_wrong_is_one_sentence(console: Console) -> None:
    with httpx.Client(base_url=console.base) as client:
        client.get(console.address)
        for path, body, status, said in (
            ("classify", {"model": "nobody", "texts": ["good"]}, 404, "has no such model"),
            ("classify", {"model": "tiny", "texts": []}, 422, "no text to classify"),
            ("classify", {"model": "tiny", "texts": [{"text": 7}]}, 422, "a text is a string"),
            ("explain", {"model": "tiny", "texts": ["a"], "label": "x"}, 422, "label"),
            ("rollouts", {"file": "../tiny-2.0.mar"}, 422, "not in the model store"),
            ("canary", {"model": "tiny", "version": "1.0", "percent": -1}, 422, "not below 0"),
            ("quality?model=tiny", {}, 422, "name the model, and the file"),
        ):
            answer = client.post(f"/api/{path}", json=body)
            assert (answer.status_code, path) == (status, path)
            assert said in answer.json()["error"]["message"]

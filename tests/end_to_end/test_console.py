"""The console in a real browser, beside a real server: its parts, rollouts, and who is kept out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from bertserve.clients.canary import read_canaries
from bertserve.serving.server import Server
from bertserve.versions.versions import Versions
from commands import run
from console_parts import AS_BEFORE, begin, label_all, quality, walk_through
from consoles import Console, Visitor, running
from faults import our_callers
from serving import http_server, served, wait_until, write_config

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route


def test_a_walk_through_all_parts(visitor: Visitor, tmp_path: Path) -> None:
    """At other widths and in other colours: long/test_consoles.py."""
    walk_through(visitor, 1280, "light", label_all(tmp_path / "labelled.jsonl"))


def test_a_judgement_is_stopped_from_the_page_and_another_one_taken(
    visitor: Visitor, tmp_path: Path
) -> None:
    labelled = label_all(tmp_path / "labelled.jsonl")
    long = tmp_path / "long.jsonl"
    long.write_text(f"{labelled.read_text()}\n" * 2_000)
    with visitor.page("quality") as page:
        page.get_by_label("Drop a labelled file").set_input_files(long)
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("long.jsonl: stopped").wait_for()
        assert page.get_by_role("button", name="Stop").count() == 0
        quality(page, labelled)


def test_a_rollout_from_the_page_under_load_loses_nothing(
    console_server: Server, visitor: Visitor
) -> None:
    with visitor.page("rollout") as page, our_callers(console_server) as seen:
        begin(page, 2)
        page.get_by_role("heading", name="Rolled out: tiny 2.0").wait_for()
        page.get_by_role("heading", name="Beside the default, on 32 texts").wait_for()
        assert page.locator("table td").count() > 3  # texts whose label changes
        page.get_by_label("Canary: share of requests for 1.0").fill("20")
        page.get_by_role("button", name="Set", exact=True).click()
        wait_until(lambda: read_canaries(Path(console_server.directory)))
        assert read_canaries(Path(console_server.directory))["tiny"].percent == 20
        page.get_by_role("button", name="Roll back to 1.0").click()
        wait_until(lambda: served(Versions(console_server))["1.0"])
    seen.assert_whole()


def test_a_press_does_a_thing_once_and_a_refusal_is_shown(
    console_server: Server, visitor: Visitor
) -> None:
    with visitor.page("rollout", quiet=False) as page:
        asked: list[str] = []

        def twice(route: Route) -> None:
            """As where another page began a moment before."""
            asked.append(route.request.url)
            route.fetch()
            route.fulfill(response=route.fetch())

        page.route(
            "**/api/rollouts", lambda r: twice(r) if r.request.method == "POST" else r.continue_()
        )
        page.get_by_label("Watch for").fill("600")
        page.get_by_label("Slowdown").fill("1000")
        page.get_by_role("button", name="Roll out", exact=True).dblclick()
        page.get_by_text("a rollout is under way").wait_for()
        page.get_by_role("heading", name="Rolling out tiny 2.0").wait_for()
        assert len(asked) == 1
        page.locator(".steps li").first.wait_for()
        page.get_by_role("button", name="Stop and put back").click()
        page.get_by_role("heading", name="Stopped, everything is as before").wait_for()
        page.get_by_role("heading", name="Next version").wait_for()
        assert not page.get_by_text("a rollout is under way").count()
    assert served(Versions(console_server)) == AS_BEFORE


def test_many_texts_and_the_request_for_as_many_as_the_model_takes(visitor: Visitor) -> None:
    with visitor.page("try") as page:
        page.get_by_label("Several, one a line").check()
        page.get_by_label("Texts", exact=True).fill("\n".join(f"film {n}." for n in range(130)))
        page.get_by_role("button", name="Classify").click()
        page.get_by_role("heading", name="130 texts").wait_for()
        page.get_by_text("With the first 128 of 130 texts").wait_for()
        assert "film 127." in page.locator("pre").inner_text()
        assert "film 128." not in page.locator("pre").inner_text()
        assert page.locator("tbody tr").count() == 130
        assert page.get_by_text("$KEY is the inference key").count() == 1


def test_pages_come_back_with_the_server(
    archives: list[Path], start_another: Callable[..., Server], browser: Browser, tmp_path: Path
) -> None:
    config = write_config(tmp_path, disable_token_authorization="true")
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(archives[0], store)
    server = start_another(store, config)
    with running(config, "--manage") as console, ExitStack() as pages:
        visitor = Visitor(browser, console)
        with visitor.page("models", quiet=False):
            server.stop()
        parts = ("try", "rollout", "traffic", "models", "quality", "api")
        opened = {part: pages.enter_context(visitor.page(part, quiet=False)) for part in parts}
        for page in opened.values():
            page.get_by_text("no server is running").first.wait_for()
        start_another(store, config)
        opened["rollout"].get_by_role("heading", name="What is served").wait_for()
        opened["quality"].get_by_label("Drop a labelled file").wait_for()
        opened["api"].get_by_role("heading", name="/v2/models/tiny/infer").wait_for()
        for part in ("traffic", "models"):
            opened[part].get_by_role("heading", name="tiny 1.0").wait_for()
        page = opened["try"]
        page.get_by_label("Text", exact=True).fill("a good film")
        page.get_by_role("button", name="Classify").click()
        page.get_by_role("heading", name="The same request").wait_for()
        assert page.get_by_text("Authorization").count() == 0  # this server asks for no key
        for page in opened.values():
            assert page.get_by_text("no server is running").count() == 0


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


def test_without_manage_nothing_can_be_changed(
    console_config: Path, console_server: Server
) -> None:
    with running(console_config) as console, httpx.Client() as client:
        client.get(console.address)
        assert client.get(f"{console.base}/api/about").json()["manage"] is False
        for path in ("rollouts", "rollouts/stop", "rollback", "canary"):
            answer = client.post(f"{console.base}/api/{path}", json={"model": "tiny"})
            assert answer.status_code in (404, 405)
    assert served(Versions(console_server)) == AS_BEFORE


def test_a_page_of_another_origin_gets_nowhere(console_server: Server, visitor: Visitor) -> None:
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
        assert not read_canaries(Path(console_server.directory))
        # and a page of ours reaches no other host
        path = f"{address}/stolen"
        assert page.evaluate("(url) => fetch(url).then(() => 1, () => 0)", path) == 0
    assert "/stolen" not in reached


def test_a_console_that_cannot_start_says_why(
    console: Console, console_config: Path, tmp_path: Path
) -> None:
    port = console.base.rpartition(":")[2]
    taken = run("console", "--port", port, "--config", console_config)
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
            (
                "explain",
                {"model": "tiny", "version": 5, "texts": ["a"]},
                422,
                "version is a string",
            ),
            ("explain", {"model": "tiny", "texts": ["a", "b"]}, 422, "one text is explained"),
            ("classify", "[" * 100_000, 422, "no JSON object"),
            ("rollouts", "[" * 100_000, 422, "no JSON object"),
            ("rollback", {"model": "tiny"}, 409, "tiny"),  # no former version is there
        ):
            content = body if isinstance(body, str) else json.dumps(body)
            answer = client.post(f"/api/{path}", content=content)
            assert (answer.status_code, path) == (status, path)
            assert said in answer.json()["error"]["message"]

"""Who may ask the console, and what its answers say to browsers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from bertserve.console.guard import COOKIE, POLICY, Guard

BASE = "http://127.0.0.1:8084"
TOKEN = "the-token"


async def answer(_: Request) -> Response:
    return PlainTextResponse("here")


@pytest.fixture
def guard() -> Guard:
    paths = [Route(path, answer, methods=["GET", "POST"]) for path in ("/", "/api/models")]
    return Guard(Starlette(routes=paths), TOKEN)


@pytest.fixture
def client(guard: Guard) -> Iterator[TestClient]:
    with TestClient(guard, base_url=BASE) as found:
        yield found


@pytest.fixture
def inside(client: TestClient) -> TestClient:
    """A browser that has opened the address."""
    assert client.get("/", params={"token": TOKEN}).text == "here"
    return client


def test_nothing_without_the_cookie(client: TestClient) -> None:
    for path in ("/", "/api/models", "/?token=another", "/api/models?token=the-token"):
        assert client.get(path).status_code == 403
        assert client.post(path).status_code == 403
    assert client.post("/", params={"token": TOKEN}).status_code == 403
    client.cookies.set(f"{COOKIE}0000", "guessed")
    assert client.get("/api/models").status_code == 403


def test_the_token_is_for_one_browser(guard: Guard, inside: TestClient) -> None:
    assert inside.get("/api/models").text == "here"
    assert inside.get("/", params={"token": TOKEN}).text == "here"
    other = TestClient(guard, base_url=BASE)
    assert other.get("/", params={"token": TOKEN}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "console.example"},
        {"Host": "127.0.0.1.example:8084"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8084"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "iframe"},
    ],
)
def test_others_are_refused_though_they_have_the_cookie(
    headers: dict[str, str], inside: TestClient
) -> None:
    for method in ("GET", "POST"):
        assert inside.request(method, "/api/models", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8084", "localhost:8084", "[::1]:9", "127.0.0.1"])
def test_this_machine_by_its_names(host: str, inside: TestClient) -> None:
    """The port may be another one: the end of a tunnel."""
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert inside.get("/api/models", headers=headers).text == "here"


def test_a_link_to_the_console_opens_it(client: TestClient) -> None:
    opened = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert client.get("/", params={"token": TOKEN}, headers=opened).text == "here"


def test_what_browsers_are_told(client: TestClient) -> None:
    for answered in (client.get("/"), client.get("/", params={"token": TOKEN})):
        assert answered.headers["Content-Security-Policy"] == POLICY
        assert answered.headers["X-Content-Type-Options"] == "nosniff"
        assert answered.headers["Referrer-Policy"] == "no-referrer"
        assert answered.headers["Cache-Control"] == "no-store"
        assert answered.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_policy_allows_what_is_the_console_s_own_alone() -> None:
    sources = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert sources["default-src"] == "'none'"
    assert {*sources.values()} <= {"'none'", "'self'", "'script'"}

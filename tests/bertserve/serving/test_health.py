"""What machines ask: is it alive, is it ready, let it end in peace."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from bertserve.serving.health import answer_at
from serving import PATIENCE


class Watched:
    """Says what a test wants."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lacks: list[str] = []
        self.left = {"waiting": 0, "busy": 0}
        self.drained = 0

    def missing(self) -> list[str]:
        return self.lacks

    def drain(self) -> dict[str, int]:
        self.drained += 1
        return self.left

    def metrics(self) -> bytes:
        return b"bertserve_ready 1.0\n"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Watched, httpx.Client]]:
    watched = Watched()
    server = answer_at(watched, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with httpx.Client(base_url=address, trust_env=False, timeout=PATIENCE) as client:
            yield watched, client
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def watched(served: tuple[Watched, httpx.Client]) -> Watched:
    served[0].reset()
    return served[0]


@pytest.fixture
def http(served: tuple[Watched, httpx.Client]) -> httpx.Client:
    return served[1]


@pytest.mark.parametrize("path", ["/ready", "/v2/health/ready"])
def test_readiness_says_what_is_missing(path: str, watched: Watched, http: httpx.Client) -> None:
    response = http.get(path)
    assert (response.status_code, response.json()) == (200, {"ready": True})
    watched.lacks = ["support 2.0 has 1 of 2 workers that it needs"]
    response = http.get(path)
    assert response.status_code == 503
    assert response.json() == {"ready": False, "missing": watched.lacks}


def test_life_and_metrics(http: httpx.Client) -> None:
    for path in ("/live", "/v2/health/live"):
        assert http.get(path).json() == {"live": True}
    response = http.get("/metrics")
    assert response.text == "bertserve_ready 1.0\n"
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(("waiting", "status"), [(0, 200), (3, 503)])
def test_draining_answers_with_what_is_left(
    waiting: int, status: int, watched: Watched, http: httpx.Client
) -> None:
    watched.left["waiting"] = waiting
    response = http.post("/drain")
    assert response.status_code == status
    assert response.json() == {"drained": not waiting, "waiting": waiting, "busy": 0}


def test_a_page_in_a_browser_cannot_drain(watched: Watched, http: httpx.Client) -> None:
    response = http.post("/drain", headers={"Origin": "https://elsewhere.example"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "foreign")
    assert http.get("/drain").status_code == 404
    assert watched.drained == 0


def test_a_caller_of_another_address_cannot_drain(watched: Watched) -> None:
    server = answer_at(watched, "0.0.0.0", 0)
    try:
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=transport, timeout=PATIENCE) as client:
            address = f"http://127.0.0.1:{server.server_port}"
            assert client.post(f"{address}/drain").status_code == 403
            assert client.get(f"{address}/ready").status_code == 200
    finally:
        server.shutdown()
        server.server_close()
    assert watched.drained == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_not_there(method: str, http: httpx.Client) -> None:
    response = http.request(method, "/other")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")

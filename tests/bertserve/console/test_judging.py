"""The errors of a labelled file, as a page says them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from queue import Queue
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bertserve import quality
from bertserve.console import judging
from bertserve.errors import ConfigError, ServerError
from serving import PATIENCE

BASE = "http://127.0.0.1:8084"
LABELS = ("good", "bad")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What the page says of a file that a model of pairs, or of texts, cannot be judged on."""

    def judged(name: str, content: str, *, pairs: bool = False, **columns: str) -> str:
        facts = {"name": "m", "version": "1", "pairs": pairs}
        model = SimpleNamespace(labels=LABELS, independent=False, facts=facts)
        monkeypatch.setattr(quality, "served", lambda *_: model)
        server: Any = None
        found = judging.Quality(lambda: server)
        ended = wait_for(found)
        client = TestClient(Starlette(routes=judging.routes(found)), base_url=BASE)
        query = {"model": "m", "file": name, **columns}
        assert client.post("/api/quality", params=query, content=content).status_code == 200
        last = ended()
        assert (last["state"], last["file"]) == ("failed", name)
        message: str = last["error"]["message"]
        return message

    def wait_for(found: judging.Quality) -> Callable[[], dict[str, Any]]:
        over, post = Event(), found.shown.post

        def posted(value: Any) -> None:
            post(value)
            if value["state"] != "running":
                over.set()

        monkeypatch.setattr(found.shown, "post", posted)

        def ended() -> dict[str, Any]:
            assert over.wait(30)
            value: dict[str, Any] = found.shown.value
            return value

        return ended

    return judged


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("body,label\na,good\n", {}, 'at "Text"; left empty, it is the column text'),
        ("text,kind\na,good\n", {}, "label, labels, category, intent, class and target"),
        ("text,good\na,1\n", {}, "label, labels, category, intent, class and target"),
        ("text,label\na,good\n", {"pair": "b"}, 'at "Second text"; left empty, it is the column'),
        ("text,label\na,good\n", {"pairs": True}, 'at "Second text"; left empty, it is the column'),
        ("text,label\na,neither\n", {}, "mine.csv, line 2: 'neither' is no label"),
        ("", {}, "mine.csv holds no texts"),
        ("text,label\n\udcff,good\n", {}, "mine.csv cannot be read"),
    ],
)
def test_errors_speak_of_the_page(
    content: str, options: dict[str, Any], expected: str, said: Callable[..., str]
) -> None:
    raw: Any = content.encode(errors="surrogateescape")
    message = said("mine.csv", raw, **options)
    assert expected in message
    assert "mine.csv" in message
    assert "--" not in message
    assert "/" not in message


@pytest.fixture
def judged_by(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[TestClient, Queue[Any]]]:
    """A page's server, whose model scores by a function; and what it shows."""

    def made(score: Callable[..., Any]) -> tuple[TestClient, Queue[Any]]:
        facts = {"pairs": False, "calibration": {}}
        model = SimpleNamespace(
            labels=LABELS, independent=False, thresholds=None, facts=facts, score=score
        )
        monkeypatch.setattr(quality, "served", lambda *_: model)
        server: Any = None
        found, shown = judging.Quality(lambda: server), Queue[Any]()
        post = found.shown.post

        def posted(value: Any) -> None:
            post(value)
            shown.put(value)

        monkeypatch.setattr(found.shown, "post", posted)
        return TestClient(Starlette(routes=judging.routes(found)), base_url=BASE), shown

    return made


def take(client: TestClient, name: str) -> None:
    query, content = {"model": "m", "file": name}, "text,label\na,good\n"
    assert client.post("/api/quality", params=query, content=content).is_success


def last_of(shown: Queue[Any]) -> dict[str, Any]:
    while (value := shown.get(timeout=PATIENCE))["state"] in ("running", "stopping"):
        pass
    found: dict[str, Any] = value
    return found


def test_what_takes_long_can_be_stopped_and_the_next_one_begins(
    judged_by: Callable[..., tuple[TestClient, Queue[Any]]],
) -> None:
    begun = Event()

    def score(_: Any, report: Callable[[int], None]) -> None:
        for done in count():
            report(done)
            begun.set()

    client, shown = judged_by(score)
    for name in ("one.csv", "two.csv"):
        begun.clear()
        assert client.post("/api/quality/stop").is_success  # which means none of them
        take(client, name)
        assert begun.wait(PATIENCE)
        assert client.post("/api/quality/stop").is_success
        assert last_of(shown) == {"state": "stopped", "file": name}


@pytest.mark.parametrize("fails", [False, True])
def test_whatever_becomes_of_what_was_asked_it_is_stopped(
    fails: bool, judged_by: Callable[..., tuple[TestClient, Queue[Any]]]
) -> None:
    asked, answered = Event(), Event()

    def score(_: Any, __: Callable[[int], None]) -> Any:
        asked.set()
        assert answered.wait(PATIENCE)
        if fails:
            raise ServerError("no answer in time")
        return SimpleNamespace(probabilities=np.array([[0.5, 0.5]]))

    client, shown = judged_by(score)
    take(client, "one.csv")
    assert asked.wait(PATIENCE)
    assert client.post("/api/quality/stop").is_success
    answered.set()
    assert last_of(shown) == {"state": "stopped", "file": "one.csv"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{'a' * 300}.csv", "File name too long"),
        ("a\0.csv", "embedded null byte"),
        ("..", "Is a directory"),
    ],
)
def test_a_name_that_no_file_can_have_is_told_and_the_next_one_is_read(
    name: str, reason: str, judged_by: Callable[..., tuple[TestClient, Queue[Any]]]
) -> None:
    client, shown = judged_by(lambda *_, **__: pytest.fail("it was read"))
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"\({reason}\); give it another one"):
            client.post("/api/quality", params={"model": "m", "file": name}, content="a")
    assert shown.empty()


def test_the_labels_columns_are_those_that_are_read() -> None:
    from bertserve.quality import datasets

    said = judging._FIELDS["--label-column"]
    assert f"{', '.join(datasets._LABEL_COLUMNS[:-1])} and {datasets._LABEL_COLUMNS[-1]}" in said

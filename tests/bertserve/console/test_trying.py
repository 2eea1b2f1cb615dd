"""What the page is told of texts, of few and of many, and of requests that are none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bertserve.clients import Prediction
from bertserve.console import trying
from bertserve.console.replies import on_problem
from bertserve.errors import BertserveError, ClientError, TextError

BASE = "http://127.0.0.1:8084"
REFUSED = TextError("empty_text", "the text is empty")
LABELS = [f"label {number}" for number in range(200)]


class Answering:
    """A client of a model that takes 12 texts at once; it refuses the empty one."""

    def __init__(self, most: int | None = 12) -> None:
        self.most = most

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def classify_each(
        self, texts: Sequence[str], *, details: bool
    ) -> Iterator[Prediction | TextError]:
        assert details
        numbers = dict.fromkeys(LABELS, 1 / len(LABELS))
        for text in texts:
            yield Prediction(numbers, numbers, truncated=False) if text else REFUSED

    def describe(self) -> Any:
        if self.most is None:
            raise ClientError("no answer")
        return SimpleNamespace(max_texts=self.most)


def asking(client: Answering, *, tokens: bool = True) -> TestClient:
    addresses = SimpleNamespace(inference="http://127.0.0.1:8080", tokens=tokens)
    server: Any = SimpleNamespace(addresses=addresses, client=lambda *_, **__: client)
    handlers: Any = {BertserveError: on_problem}
    app = Starlette(routes=trying.routes(lambda: server), exception_handlers=handlers)
    return TestClient(app, base_url=BASE)


def classified(client: TestClient, texts: list[str]) -> dict[str, Any]:
    answer = client.post("/api/classify", json={"model": "m", "texts": texts})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_of_a_few_texts_everything_is_told() -> None:
    (results,) = classified(asking(Answering()), ["good", ""])["results"]
    assert len(results[0]["probabilities"]) == len(results[0]["logits"]) == len(LABELS)
    assert results[0]["label"] == LABELS[0]
    assert results[1]["error"]["code"] == "empty_text"


def test_of_many_texts_only_what_a_table_shows() -> None:
    (results,) = classified(asking(Answering()), ["good"] * 99 + [""])["results"]
    assert len(results) == 100
    shown = {"label": LABELS[0], "probability": 1 / 200, "decided": None, "truncated": False}
    assert results[:99] == [shown] * 99
    assert results[99] == {"error": {"code": "empty_text", "message": "the text is empty"}}


@pytest.mark.parametrize(("most", "count", "of"), [(12, 12, 12), (12, 13, 12), (None, 99, 32)])
def test_the_request_to_copy_is_one_that_the_model_takes(
    most: int | None, count: int, of: int
) -> None:
    found = classified(asking(Answering(most)), [f"text {n}." for n in range(count)])
    assert found["snippets_of"] == of
    for snippet in found["snippets"].values():
        assert f"text {of - 1}." in snippet
        assert f"text {of}." not in snippet


@pytest.mark.parametrize("tokens", [True, False])
def test_whether_a_key_is_needed(tokens: bool) -> None:
    assert classified(asking(Answering(), tokens=tokens), ["good"])["needs_key"] is tokens


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("classify", {"model": 5, "texts": ["a"]}, "model is a string"),
        ("classify", {"texts": ["a"]}, "names no model"),
        ("classify", {"model": "m\ud83e", "texts": ["a"]}, "model is a string"),
        ("classify", {"model": "m", "texts": ["a"], "versions": [5]}, "versions is a list"),
        ("classify", {"model": "m", "texts": ["a"], "versions": "1"}, "versions is a list"),
        ("explain", {"model": "m", "texts": ["a"], "version": 5}, "version is a string"),
        ("explain", {"model": "m", "texts": ["a"], "label": ["x"]}, "label is a string"),
        ("explain", {"model": "m", "texts": ["a", "b"]}, "one text is explained at a time"),
        ("explain", {"model": "m", "texts": []}, "no text to classify"),
    ],
)
def test_a_request_that_is_none(path: str, body: dict[str, Any], said: str) -> None:
    answer = asking(Answering()).post(f"/api/{path}", content=json.dumps(body))
    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", ["[" * 100_000, "{", "[]", "", "\xff", f'{{"a": {"9" * 5000}}}'])
def test_a_body_that_is_no_object(body: str) -> None:
    answer = asking(Answering()).post("/api/classify", content=body.encode("latin-1"))
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "the body is no JSON object"

"""Explanations as callers get them from a real server: every way to the same words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

import tiny
from bertserve import AsyncClient, AsyncGrpcClient, Explanation, Pair, TextError
from bertserve.clients.http_transport import read_response
from bertserve.clients.keys import bearer
from bertserve.handler.errors import RequestError
from bertserve.handler.values import Explain, Prediction, Text
from serving import PATIENCE, Served, wait_until

TEXT = "The service was slow, but the food was great!"


def post(served: Served, path: str, content: bytes, media_type: str) -> httpx.Response:
    """The answer at a path; one that says that explanations had their share is no answer yet."""
    headers = {"Content-Type": media_type, **bearer(served.server.key("inference"))}
    url = f"{served.server.addresses.inference}{path}"

    def ask() -> httpx.Response | None:
        response = httpx.post(url, content=content, headers=headers, timeout=PATIENCE)
        return None if response.status_code == 429 else response

    response = wait_until(ask)
    assert response is not None
    return response


def check(found: Explanation, text: str, label: str | None, served: Served) -> None:
    """What a client got is what the same model gives in this process, and its sum is right."""
    (expected,) = served.tiny.pipeline([Text(text)])
    assert isinstance(expected, Prediction)
    assert found.label == (label or next(iter(expected.probabilities)))
    assert found.probability == pytest.approx(expected.probabilities[found.label], abs=1e-5)
    logit = expected.logits[tiny.LABELS.index(found.label)]
    assert found.logit == pytest.approx(logit, abs=1e-4)
    assert (found.tokens, found.truncated) == (expected.tokens, expected.truncated)
    assert (found.model, found.version) == ("tiny", "1.0")
    assert [text[word.start : word.end] for word in found.words] == [w.word for w in found.words]
    change = found.logit - found.baseline_logit
    total = sum(word.attribution for word in found.words)
    assert abs(total - change) == pytest.approx(found.completeness_gap, abs=1e-6)
    assert found.completeness_gap <= max(0.01, 0.02 * abs(change))


@pytest.mark.parametrize("label", [None, "neutral"])
def test_every_client_gets_the_same_words(served: Served, label: str | None) -> None:
    server = served.server
    with server.client("tiny") as http, server.grpc_client("tiny") as grpc:
        over_http, over_grpc = http.explain(TEXT, label), grpc.explain(TEXT, label)
    check(over_http, TEXT, label, served)
    check(over_grpc, TEXT, label, served)
    options: dict[str, Any] = {"key_file": server.key_file}

    async def ask() -> list[Explanation]:
        addresses = server.addresses
        async with (
            AsyncClient("tiny", url=addresses.inference, **options) as http,
            AsyncGrpcClient("tiny", target=addresses.grpc_inference, **options) as grpc,
        ):
            return list(await asyncio.gather(http.explain(TEXT, label), grpc.explain(TEXT, label)))

    for found in asyncio.run(ask()):
        check(found, TEXT, label, served)
        assert [word.word for word in found.words] == [word.word for word in over_http.words]


def test_every_url_for_explanations_answers_the_same(served: Served) -> None:
    (expected,) = served.tiny.pipeline([Text(TEXT, explain=Explain())])
    assert isinstance(expected, Prediction)
    assert expected.explanation is not None
    plain = post(served, "/explanations/tiny", TEXT.encode(), "text/plain")
    body = json.dumps({"text": TEXT}).encode()
    versioned = post(served, "/explanations/tiny/1.0", body, "application/json")
    asked = json.dumps({"text": TEXT, "explain": True}).encode()
    predicted = post(served, "/predictions/tiny", asked, "application/json")
    v1 = post(served, "/v1/models/tiny:explain", body, "application/json")
    v2 = post(served, "/v2/models/tiny/explain", body, "application/json")
    for response in (plain, versioned, predicted, v1, v2):
        assert response.status_code == 200
        answer = json.loads(read_response(response))
        assert list(answer) == [
            "model", "version", "label", "probability", "logit", "baseline_logit",
            "completeness_gap", "tokens", "truncated", "words",
        ]  # fmt: skip
        for word, own in zip(answer["words"], expected.explanation.words, strict=True):
            assert word["word"] == own.word
            assert word["attribution"] == pytest.approx(own.attribution, abs=1e-4)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/tiny:explain", {"instances": [TEXT]}),
        (
            "/v2/models/tiny/explain",
            {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT]}]},
        ),
    ],
)
def test_other_protocols_have_no_form_for_explanations(
    path: str, body: dict[str, Any], served: Served
) -> None:
    response = post(served, path, json.dumps(body).encode(), "application/json")
    assert response.status_code == 422
    assert "an explanation is of one text" in response.json()["error"]["message"]


def test_a_pair_and_a_long_text(served: Served) -> None:
    with served.server.client("tiny") as client:
        pair = client.explain(Pair("good film", "bad ending"))
        short = client.explain("good film " * 9, max_length=8)
        with pytest.raises(TextError) as raised:
            client.explain("good film " * 9, max_length=8, truncate=False)
    assert [(word.word, word.of) for word in pair.words] == [
        ("good", "text"), ("film", "text"), ("bad", "text_pair"), ("ending", "text_pair"),
    ]  # fmt: skip
    assert (short.tokens, short.truncated) == (8, True)
    assert 0 < len(short.words) <= 6
    assert raised.value.code == "text_too_long"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": "good film", "label": "x"}, 422, "invalid_value"),
        ({"texts": ["good film"]}, 422, "unknown_key"),
        ({"instances": ["good film"]}, 422, "unknown_key"),
        ({"text": " "}, 422, "empty_text"),
    ],
)
def test_what_cannot_be_explained_is_said(
    served: Served, body: dict[str, Any], status: int, code: str
) -> None:
    content = json.dumps(body).encode()
    response = post(served, "/explanations/tiny", content, "application/json")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_predictions_beside_explanations_are_what_they_are_alone(served: Served) -> None:
    texts = list(tiny.TEXTS) * 2
    alone = served.tiny.pipeline([Text(text) for text in texts])

    async def ask() -> tuple[list[Any], list[Any]]:
        server = served.server
        async with AsyncClient(
            "tiny", url=server.addresses.inference, key_file=server.key_file
        ) as client:
            predictions = [client.classify(text, details=True) for text in texts]
            explanations = [client.explain(text) for text in tiny.TEXTS[:3]]
            found = await asyncio.gather(*predictions, *explanations)
            return found[: len(texts)], found[len(texts) :]

    predictions, explanations = asyncio.run(ask())
    for expected, found in zip(alone, predictions, strict=True):
        assert not isinstance(expected, RequestError)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    for text, found in zip(tiny.TEXTS, explanations, strict=False):
        check(found, text, None, served)

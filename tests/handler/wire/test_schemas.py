"""What callers are told about bodies and answers is what the handler reads and writes."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import bodies
import fakes
from bertserve.clients.results import Description
from bertserve.openapi import document
from handler import schemas

TEXTS = ["good film", "", "we loved the story and the ending " * 12]
TENSOR = {"name": "text", "datatype": "BYTES", "shape": [3], "data": TEXTS}
# what a schema of a body cannot say: of texts, of two keys together, of two tensors
UNSAID = {
    "empty_text", "invalid_text", "text_too_long", "conflicting_keys", "too_deep", "too_many_texts",
    "answer_too_large", "explanations_unsupported",
}  # fmt: skip


class Told:
    """The document of the handler's model, and validators of its parts."""

    def __init__(self, loaded: Any) -> None:
        described = loaded[0].description
        known = {f.name: described[f.name] for f in fields(Description) if f.name in described}
        self.document = document(Description(**known), url="http://127.0.0.1:8080")
        resource: Any = Resource.from_contents(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **self.document}
        )
        self.registry: Any = Registry().with_resource("urn:api", resource)

    def validator(self, schema: Any) -> Draft202012Validator:
        where = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
        return Draft202012Validator(where, registry=self.registry)

    def body(self, path: str, value: Any) -> bool:
        """Whether a path takes a body."""
        schema = self.document["paths"][path]["post"]["requestBody"]["content"]
        return bool(self.validator(schema["application/json"]["schema"]).is_valid(value))

    def check(self, path: str, status: int, answer: Any) -> None:
        """An answer must be documented."""
        response = self.document["paths"][path]["post"]["responses"][str(status)]
        self.validator(response["content"]["application/json"]["schema"]).validate(answer)


@pytest.fixture(scope="module")
def told(loaded: Any) -> Told:
    return Told(loaded)


def test_every_schema_is_one(told: Told) -> None:
    for schema in told.document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("path", "row", "value"),
    [
        ("/predictions/tiny", fakes.rest, {"text": "good film"}),
        ("/predictions/tiny", fakes.rest, {"text": "good film", "details": True, "top_k": 2}),
        ("/predictions/tiny", fakes.rest, {"texts": TEXTS, "details": True}),
        ("/predictions/tiny", fakes.rest, {"texts": [TEXTS[1]]}),
        ("/predictions/tiny", fakes.rest, {"texts": TEXTS, "truncate": False, "calibrated": None}),
        ("/predictions/tiny", fakes.rest, {"text": "good film", "explain": True}),
        ("/predictions/tiny", fakes.rest, {"text": "good film", "top_k": 0}),
        ("/predictions/tiny", fakes.rest, {"inputs": "good film"}),
        ("/predictions/tiny", fakes.rest, {"inputs": TEXTS, "parameters": {"top_k": 2}}),
        ("/predictions/tiny", fakes.rest, {"inputs": {"text": "a", "text_pair": "b"}}),
        ("/explanations/tiny", fakes.rest, {"text": "good film", "label": "positive"}),
        ("/explanations/tiny", fakes.rest, {"text": "a film", "text_pair": "good"}),
        ("/invocations", fakes.invocation, {"inputs": "good film"}),
        ("/invocations", fakes.invocation, {"inputs": ["", ""]}),
        ("/v1/models/tiny:predict", fakes.v1_or_v2, {"instances": ["good", {"text": ""}]}),
        ("/v1/models/tiny:predict", fakes.v1_or_v2, {"instances": [{"text": "a", "details": True}]}),
        ("/v1/models/tiny:predict", fakes.v1_or_v2, {"instances": [""]}),
        ("/v2/models/tiny/infer", fakes.v1_or_v2, {"id": "7", "inputs": [TENSOR]}),
        (
            "/v2/models/tiny/infer",
            fakes.v1_or_v2,
            {
                "inputs": [TENSOR],
                "parameters": {"top_k": 2},
                "outputs": [{"name": name} for name in schemas.OUTPUTS],
            },
        ),
    ],
)  # fmt: skip
def test_answers_are_as_documented(
    path: str, row: Any, value: Any, loaded: Any, told: Told
) -> None:
    body = json.dumps(value).encode()
    made = row(body, explain="True") if "explanations" in path else row(body)
    ((status, answer),) = fakes.answer(loaded, [made])
    told.check(path, status, answer)


def test_what_is_documented_is_what_is_read(loaded: Any, told: Told) -> None:
    """Of calls at random, good and bad: the handler takes what the document takes, and no more."""
    chance, seen = random.Random(20), Counter[str]()
    ways = {
        "predictions": ("/predictions/tiny", fakes.rest, ("instances",)),
        "invocations": ("/invocations", fakes.invocation, ("instances", "text", "texts")),
        "v1": ("/v1/models/tiny:predict", fakes.v1_or_v2, ("inputs", "text", "texts")),
        "v2": ("/v2/models/tiny/infer", fakes.v1_or_v2, ("instances", "text", "texts")),
    }
    while sum(seen.values()) < 600:
        call = bodies.make(chance, large=False)
        try:
            value = json.loads(call.body)
        except (ValueError, RecursionError):
            continue
        if call.way not in ways or not isinstance(value, dict):
            continue
        content = json.dumps(value).encode()  # what is wrong with bytes is no matter of schemas
        path, row, foreign = ways[call.way]
        if any(key in value for key in foreign) or _is_foreign(path, value):
            continue  # of another protocol, which every URL reads
        ((status, answer),) = fakes.answer(loaded, [row(content)])
        told.check(path, status, answer)
        if told.body(path, value):
            codes = {found["code"] for found in _errors(answer)}
            assert codes <= UNSAID | {"invalid_value"}, (value, codes)
            seen["taken"] += 1
        else:
            assert status != 200 or _errors(answer) or _is_narrower(value), value
            seen["refused"] += 1
    assert min(seen["taken"], seen["refused"]) > 100


def _is_foreign(path: str, value: dict[str, Any]) -> bool:
    """Whether a body at one URL is of a protocol that has another."""
    first = (
        value["inputs"][0] if isinstance(value.get("inputs"), list) and value["inputs"] else None
    )
    is_tensor = isinstance(first, dict) and not {"name", "datatype", "shape", "data"}.isdisjoint(
        first
    )
    return is_tensor != ("v2" in path) and "inputs" in value


def _is_narrower(value: dict[str, Any]) -> bool:
    """What the document leaves out though it is read: nested data, one request's keys in another's."""
    found = value.get("inputs")
    tensors = found if isinstance(found, list) else []
    nested = any(
        isinstance(each, list)
        for tensor in tensors
        if isinstance(tensor, dict)
        for each in tensor.get("data") or []
    )
    return nested or any(
        value.get(key, 0) is None for key in ("texts", "text", "text_pair", "explain")
    )


def _errors(answer: Any) -> list[Any]:
    """The error objects that stand anywhere in an answer."""
    if isinstance(answer, list):
        return [error for each in answer for error in _errors(each)]
    if not isinstance(answer, dict):
        return []
    if isinstance(answer.get("error"), dict):
        return [answer["error"]]
    if answer.get("name") == "error":
        return [json.loads(each) for each in answer["data"] if each]
    return [error for each in answer.values() for error in _errors(each)]


def test_urls_without_a_version_are_of_the_default_alone(told: Told, loaded: Any) -> None:
    described = loaded[0].description
    known = {f.name: described[f.name] for f in fields(Description) if f.name in described}
    other = document(Description(**known), url="http://a", is_default=False, has_tokens=False)
    assert set(other["paths"]) == {"/predictions/tiny/1.0", "/explanations/tiny/1.0"}
    assert "security" not in other
    assert set(other["paths"]) < set(told.document["paths"])

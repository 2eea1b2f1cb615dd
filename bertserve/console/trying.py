"""Try: texts classified by one version or two, explained, and the request to copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import openapi
from ..clients import snippets
from ..errors import ConfigError, TextError
from ..explanations import full_strength, parts, remark
from ..inputs import Input, Pair
from ..serving import Server
from .replies import Json, asked, problem

Find = Callable[[], Server]


def routes(find: Find) -> list[BaseRoute]:
    """Its paths."""

    async def classify(request: Request) -> Response:
        return Json(await run_in_threadpool(_classify, find(), await asked(request)))

    async def explain(request: Request) -> Response:
        return Json(await run_in_threadpool(_explain, find(), await asked(request)))

    async def document(request: Request) -> Response:
        names = request.path_params
        found = await run_in_threadpool(openapi.served, find(), names["name"], names["version"])
        return Json(found)

    return [
        Route("/api/classify", classify, methods=["POST"]),
        Route("/api/explain", explain, methods=["POST"]),
        Route("/api/openapi/{name}/{version}", document),
    ]


def _classify(server: Server, body: Mapping[str, Any]) -> dict[str, Any]:
    """What each version says of each text; an error in the place of a text that it refuses."""
    name, texts = _string(body, "model"), _texts(body)
    versions = body.get("versions") or [None]
    if not (isinstance(versions, list) and all(isinstance(v, str | None) for v in versions)):
        raise ConfigError("versions is a list of strings")
    found = []
    for version in versions:
        with server.client(name, version=version, deadline=0) as client:
            results = client.classify(texts, details=True)
        found.append(
            [
                problem(each)
                if isinstance(each, TextError)
                else {**vars(each), "label": each.label, "probability": each.probability}
                for each in results
            ]
        )
    shown = snippets(server.addresses.inference, name, versions[0], texts)
    return {"results": found, "snippets": shown}


def _explain(server: Server, body: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a text with what they add, and the text in pieces for its colours."""
    name, (text,) = _string(body, "model"), _texts(body)
    with server.client(name, version=body.get("version"), deadline=10) as client:
        found = client.explain(text, body.get("label"))
    texts = {"text": text} if isinstance(text, str) else vars(text)
    return {
        **vars(found),
        "words": [vars(word) for word in found.strongest],
        "full_strength": full_strength(found),
        "remark": remark(found),
        "parts": {of: list(parts(content, of, found)) for of, content in texts.items()},
    }


def _texts(body: Mapping[str, Any]) -> list[Input]:
    texts = body.get("texts")
    if not isinstance(texts, list) or not texts:
        raise ConfigError("there is no text to classify; write one")
    return [_text(each) for each in texts]


def _text(value: Any) -> Input:
    if isinstance(value, str):
        return value
    match value:
        case {"text": str() as text, "text_pair": str() as pair}:
            return Pair(text, pair)
    raise ConfigError("a text is a string, or an object with text and text_pair")


def _string(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"the body names no {key}")
    return value

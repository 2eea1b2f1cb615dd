"""Try: texts classified by one version or two, explained, and the request to copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import openapi
from ..clients import TEXTS_PER_REQUEST, Client, Prediction, snippets
from ..errors import ClientError, ConfigError, TextError
from ..explanations import full_strength, parts, remark
from ..inputs import Input, Pair
from ..serving import Server
from .replies import Json, asked, problem

Find = Callable[[], Server]
_FEW = 8  # texts of which everything is told


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
    """What each version says of each text; an error in the place of a text that it refuses.

    The request to copy holds as many of the texts as the model takes at once.
    """
    name, texts, versions = _name(body, "model"), _texts(body), _versions(body)
    tell = _all_of if len(texts) <= _FEW else _short_of
    found, most = [], 1
    for version in versions:
        with server.client(name, version=version, deadline=0) as client:
            # one by one, for the numbers of thousands would fill the memory
            found.append([tell(each) for each in client.classify_each(texts, details=True)])
            if not found[1:] and texts[1:]:
                most = _most(client)
    shown = texts[:most]
    return {
        "results": found,
        "snippets": snippets(
            server.addresses.inference, name, versions[0], shown, server.addresses.tokens
        ),
        "snippets_of": len(shown),
        "needs_key": server.addresses.tokens,
    }


def _all_of(found: Prediction | TextError) -> dict[str, Any]:
    if isinstance(found, TextError):
        return problem(found)
    return {**vars(found), "label": found.label, "probability": found.probability}


def _short_of(found: Prediction | TextError) -> dict[str, Any]:
    """What a line of a table shows."""
    kept = ("label", "probability", "decided", "truncated")
    return {key: value for key, value in _all_of(found).items() if key in (*kept, "error")}


def _most(client: Client) -> int:
    """How many texts the model takes at once; of one that does not say now, as many as we send."""
    try:
        return client.describe().max_texts
    except ClientError:
        return TEXTS_PER_REQUEST


def _explain(server: Server, body: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a text with what they add, and the text in pieces for its colours."""
    name, (text, *more) = _name(body, "model"), _texts(body)
    if more:
        raise ConfigError("one text is explained at a time; send one")
    version, label = (_optional(body, key) for key in ("version", "label"))
    with server.client(name, version=version, deadline=10) as client:
        found = client.explain(text, label)
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


def _versions(body: Mapping[str, Any]) -> list[str | None]:
    """Those that are asked; None is whichever answers by default."""
    versions = body.get("versions") or [None]
    if not (isinstance(versions, list) and all(v is None or _is_name(v) for v in versions)):
        raise ConfigError("versions is a list of strings")
    return versions


def _name(body: Mapping[str, Any], key: str) -> str:
    """A name that has to be there."""
    found = _optional(body, key)
    if found is None:
        raise ConfigError(f"the body names no {key}")
    return found


def _optional(body: Mapping[str, Any], key: str) -> str | None:
    value = body.get(key)
    if not (value is None or _is_name(value)):
        raise ConfigError(f"{key} is a string")
    return value


def _is_name(value: Any) -> bool:
    """Whether it can stand in an address, which half of a character cannot."""
    return isinstance(value, str) and value == value.encode(errors="ignore").decode()

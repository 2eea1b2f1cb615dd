"""Answers as JSON, streams of events, and errors as sentences."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, is_dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..errors import (
    BertserveError,
    ClientError,
    ConfigError,
    ModelNotFound,
    NotRunning,
    ServerError,
    TextError,
    Unavailable,
)
from ..handler.errors import LoadError
from ..system import sentence

LARGEST = 4 << 20  # bytes of a body that is no file


class Json(JSONResponse):
    """A value; ASCII, for a text may hold half of a character."""

    def render(self, content: Any) -> bytes:
        """The bytes."""
        return to_json(content).encode()


def to_json(value: Any) -> str:
    """A value on one line, dataclasses too."""
    return json.dumps(value, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return dict(value)


def refusal(status: int, code: str, message: str) -> Response:
    """What is wrong, and what to do."""
    return Json(told(code, message), status_code=status)


def told(code: str, message: str) -> dict[str, Any]:
    """An error in the shape of the wire's."""
    return {"error": {"code": code, "message": message}}


def problem(error: BertserveError | LoadError | OSError) -> dict[str, Any]:
    """An error of ours, or of the operating system, in the same shape."""
    if isinstance(error, TextError):
        return told(error.code, error.message)
    if isinstance(error, OSError):
        return told("system", sentence(error))
    return told(type(error).__name__, str(error))


async def on_problem(_: Request, error: Exception) -> Response:
    """The answer where something went wrong that the person who asked can mend."""
    assert isinstance(error, BertserveError | LoadError | OSError)
    return Json(problem(error), status_code=_status(error))


def _status(error: Exception) -> int:
    if isinstance(error, NotRunning | Unavailable):
        return 503
    if isinstance(error, ModelNotFound):
        return 404
    if isinstance(error, TextError | ConfigError):
        return 422
    if isinstance(error, ServerError):  # what is served, or under way, does not allow it
        return 409
    return 502 if isinstance(error, ClientError) else 500


async def asked(request: Request) -> dict[str, Any]:
    """The object that a body holds; ConfigError where it holds none, or is too large."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST:
            raise ConfigError(f"the page sends more than {LARGEST:,} bytes; send fewer texts")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ConfigError("the body is no JSON object")
    return value


def events(values: AsyncIterator[Any]) -> Response:
    """Values as server-sent events, each one as it comes."""

    async def lines() -> AsyncIterator[str]:
        async for value in values:
            yield f"data: {to_json(value)}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")

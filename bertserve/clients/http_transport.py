"""Operations over TorchServe's REST APIs, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx

from ..errors import (
    ClientError,
    KeyRefused,
    ModelNotFound,
    TimedOut,
    TooLarge,
    Unavailable,
    WorkerDied,
)
from .concurrency import settle
from .keys import bearer
from .operations import Describe, ListModels, Operation, Predict
from .results import is_error

# TorchServe's own for a worker that died or ran out of memory, and for a full queue; a proxy's, which
# counts requests too
_WORTH_ANOTHER_TRY = (429, 502, 503, 504, 507)
# what a gateway answers for itself, perhaps in a shape like the handler's
_NOT_THE_HANDLER = (401, 403, 404)
# other failures to connect are tried again, a name that is not found too: name servers have bad moments
_MISTAKES = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class HttpTransport:
    """`inference` and `management` are base URLs; `http` may be blocking or asynchronous."""

    def __init__(
        self, http: httpx.Client | httpx.AsyncClient, inference: str, management: str
    ) -> None:
        self._http = http
        self._urls = {"inference": inference.rstrip("/"), "management": management.rstrip("/")}

    async def send(self, operation: Operation, key: str | None, timeout: float) -> bytes:
        """The JSON of the answer; a ClientError where there is none."""
        url = self._urls[operation.kind]
        try:
            response: httpx.Response = await settle(
                self._http.request(
                    **as_request(operation, url), headers=_headers(operation, key), timeout=timeout
                )
            )
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:
            raise failure(error, url) from error
        return read_response(response)

    async def close(self) -> None:
        """Close the connections."""
        if isinstance(self._http, httpx.AsyncClient):
            await self._http.aclose()
        else:
            self._http.close()


def as_request(operation: Operation, url: str) -> dict[str, Any]:
    """Method, URL, parameters and content of an operation."""
    if isinstance(operation, ListModels):
        page = {"limit": operation.limit, "next_page_token": operation.page_token}
        return {"method": "GET", "url": f"{url}/models", "params": page}
    version = f"/{quote(operation.version, safe='')}" if operation.version else ""
    name = quote(operation.model, safe="") + version
    if isinstance(operation, Describe):
        customized = {"customized": str(operation.customized).lower()}
        return {"method": "GET", "url": f"{url}/models/{name}", "params": customized}
    return {"method": "POST", "url": f"{url}/predictions/{name}", "content": operation.body}


def _headers(operation: Operation, key: str | None) -> dict[str, str]:
    json_type = {"Content-Type": "application/json"} if isinstance(operation, Predict) else {}
    return {**bearer(key), **json_type}


def read_response(response: httpx.Response) -> bytes:
    """The handler's answer, its own errors included; TorchServe's errors are raised."""
    status = response.status_code
    if status == 200:
        return response.content
    value = _json(response)
    is_too_large = status == 413 and is_error(value) and value["error"]["code"] == "too_large"
    is_of_a_proxy = status in (*_NOT_THE_HANDLER, *_WORTH_ANOTHER_TRY) or is_too_large
    if not is_of_a_proxy and _is_answer(value):
        return response.content
    value = value if isinstance(value, dict) else {}
    told = value["error"] if is_error(value) else value
    reason = f"{told.get('message') or 'no reason given'} ({status})"
    by_torchserve = value.get("type") == "InvalidKeyException"
    if status in (401, 403) or by_torchserve:
        raise KeyRefused(f"the server refuses the key: {reason}", by_proxy=not by_torchserve)
    if status == 404:
        raise ModelNotFound(f"the server has no such model: {reason}; see `bertserve status`")
    if status == 413:
        raise TooLarge(f"the text is larger than the server's max_request_size: {reason}")
    if "Worker died" in reason:
        raise WorkerDied(f"the model's worker died while it had the request: {reason}")
    if status in _WORTH_ANOTHER_TRY:
        raise Unavailable(f"the model cannot answer now: {reason}", _retry_after(response))
    raise ClientError(f"the server answers with an error: {reason}")


def failure(error: Exception, url: str) -> ClientError:
    """What it means that no answer came."""
    if isinstance(error, UnicodeEncodeError):
        return ClientError("the key is not ASCII; copy it from key_file.json")
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return TimedOut(f"no answer from {url} in time ({type(error).__name__})")
    is_mistake = isinstance(error, _MISTAKES) or "SSL" in str(error)
    if isinstance(error, httpx.TransportError) and not is_mistake:
        return Unavailable(
            f"no answer from {url} ({type(error).__name__}); is the server running? "
            "`bertserve status`"
        )
    return ClientError(f"{url} cannot be used: {error}")


def _is_answer(value: Any) -> bool:
    return is_error(value) or (isinstance(value, list) and all(map(is_error, value)))


def _retry_after(response: httpx.Response) -> float:
    """Seconds; 0 where the server does not ask for any, or names a date."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0


def _json(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        return None

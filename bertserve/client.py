"""Classify texts over HTTP.

with Client("support", url="http://127.0.0.1:8080", key=key) as client:
    client.classify("Where is my parcel?").label
    client.classify(["Where is my parcel?", "I forgot my password"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, overload

import httpx

from .errors import ClientError, TextError
from .keys import bearer

TEXTS_PER_REQUEST = 32


@dataclass(frozen=True)
class Prediction:
    """One text's answer: label → probability, the most probable first."""

    probabilities: Mapping[str, float]

    @property
    def label(self) -> str:
        """The most probable label."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """The probability of the most probable label."""
        return next(iter(self.probabilities.values()))


class Client:
    """Talks to one served model; `version` None asks for the default one.

    `key` is the inference key, or a function that gives a valid one, or None where the server asks for
    none. `timeout` is in seconds, for each request.
    """

    def __init__(
        self,
        model: str,
        *,
        url: str = "http://127.0.0.1:8080",
        version: str | None = None,
        key: str | Callable[[], str | None] | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._path = f"/predictions/{model}/{version}" if version else f"/predictions/{model}"
        self._key = key if callable(key) else lambda: key
        self._http = httpx.Client(base_url=url, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @overload  # a str is a sequence of str too, and means one text here
    def classify(  # type: ignore[overload-overlap]
        self, texts: str, *, top_k: int | None = None
    ) -> Prediction: ...

    @overload
    def classify(
        self, texts: Sequence[str], *, top_k: int | None = None
    ) -> list[Prediction | TextError]: ...

    def classify(
        self, texts: str | Sequence[str], *, top_k: int | None = None
    ) -> Prediction | list[Prediction | TextError]:
        """Classify one text, or several, in order.

        `top_k` keeps the most probable labels only. One text that the model refuses raises its
        TextError; among several it stands in the place of that text.
        """
        if isinstance(texts, str):
            return _prediction(self._post({"text": texts}, top_k))
        return list(self.classify_each(texts, top_k=top_k))

    def classify_each(
        self, texts: Iterable[str], *, top_k: int | None = None
    ) -> Iterator[Prediction | TextError]:
        """Classify any number of texts, in order, a request of 32 texts at a time."""
        remaining = iter(texts)
        while batch := list(islice(remaining, TEXTS_PER_REQUEST)):
            for answer in self._post({"texts": batch}, top_k):
                yield _error(answer) if _is_error(answer) else _prediction(answer)

    def _post(self, body: dict[str, Any], top_k: int | None) -> Any:
        if top_k is not None:
            body["top_k"] = top_k
        try:
            response = self._http.post(self._path, json=body, headers=bearer(self._key()))
        except httpx.HTTPError as error:
            raise ClientError(
                f"no answer from {self._http.base_url} ({type(error).__name__}); is the server "
                "running? `bertserve status`"
            ) from error
        return _answer(response)


def _answer(response: httpx.Response) -> Any:
    """The JSON of an answer; TextError for the model's own errors, ClientError for TorchServe's."""
    try:
        value = response.json()
    except ValueError:
        value = None
    if isinstance(value, list) or (response.status_code == 200 and isinstance(value, dict)):
        return value
    if _is_error(value):
        raise _error(value)
    reason = value.get("message") if isinstance(value, dict) else None
    raise ClientError(f"the server answered {response.status_code}: {reason or 'no reason given'}")


def _is_error(value: Any) -> bool:
    """A label may be called "error" too, but its value is a number."""
    return isinstance(value, dict) and isinstance(value.get("error"), dict)


def _prediction(answer: dict[str, float]) -> Prediction:
    return Prediction(answer)


def _error(answer: dict[str, Any]) -> TextError:
    return TextError(**answer["error"])

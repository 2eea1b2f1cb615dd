"""What a client says to a server: requests, answers, keys, and when to try again.

It is written once, as coroutines, for the blocking and the asynchronous clients, over HTTP and gRPC. A
blocking client gives it a transport and a `Mode` that block instead of awaiting; its coroutines then run
from beginning to end at the first step, see `finish`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol, TypeVar, cast

from .errors import ClientError, KeyRefused, TextError, TimedOut, TooLarge, Unavailable
from .keys import Kind
from .results import (
    Description,
    Input,
    Model,
    Options,
    Prediction,
    from_wire,
    read_description,
    read_model,
    to_wire,
)

Result = TypeVar("Result")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_MODELS_PER_PAGE = 1000


@dataclass(frozen=True)
class Predict:
    """Classify: the bytes of a native request, for one version or, where it is None, the default."""

    model: str
    version: str | None
    body: bytes
    kind: Kind = "inference"


@dataclass(frozen=True)
class Describe:
    """Describe a model's default version, one version, or "all"; `customized` asks its handler too."""

    model: str
    version: str | None = None
    customized: bool = False
    kind: Kind = "management"


@dataclass(frozen=True)
class ListModels:
    """Name the models, a page at a time."""

    page_token: int = 0
    limit: int = _MODELS_PER_PAGE
    kind: Kind = "management"


Operation = Predict | Describe | ListModels


class Transport(Protocol):
    """Carries operations, by HTTP or gRPC."""

    async def send(self, operation: Operation, key: str | None, timeout: float) -> bytes:
        """The JSON of the answer; a ClientError where there is none."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class Mode:
    """How to wait: `sleep` for seconds, `call` a function that blocks."""

    sleep: Callable[[float], Awaitable[None] | None]
    call: Callable[..., Any]


BLOCKING = Mode(time.sleep, lambda function, *arguments: function(*arguments))
ASYNCHRONOUS = Mode(asyncio.sleep, asyncio.to_thread)


async def settle(value: Awaitable[Result] | Result) -> Result:
    """The value, awaited where it comes from an asynchronous library."""
    return await value if inspect.isawaitable(value) else value


def finish(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that never has to wait, since all that it calls blocks."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("Result", stop.value)
    coroutine.close()
    raise RuntimeError("a blocking client was given something to await")


@dataclass
class Conversation:
    """`read_key` gives a key of a kind; it is asked again when the server refuses the last one.

    `timeout` is for one try, `deadline` for all tries of a request, in seconds.
    """

    transport: Transport
    mode: Mode
    read_key: Callable[[Kind], str | None]
    timeout: float
    deadline: float

    def __post_init__(self) -> None:
        self._keys: dict[Kind, str | None] = {}

    async def classify(
        self, model: str, version: str | None, text: Input, options: Options
    ) -> Prediction:
        """Classify one text; raises the TextError that the model answers."""
        (answer,) = await self._predict(model, version, {**to_wire(text), **options})
        result = from_wire(answer)
        if isinstance(result, TextError):
            raise result
        return result

    async def classify_batch(
        self, model: str, version: str | None, texts: Sequence[Input], options: Options
    ) -> list[Prediction | TextError]:
        """Classify texts in one request, or in several where the server takes fewer at once."""
        try:
            body = {"texts": [to_wire(text) for text in texts], **options}
            answers = await self._predict(model, version, body)
        except TooLarge as error:
            if len(texts) == 1:
                return [error]
            middle = len(texts) // 2
            return [
                *await self.classify_batch(model, version, texts[:middle], options),
                *await self.classify_batch(model, version, texts[middle:], options),
            ]
        results = [from_wire(answer) for answer in answers]
        for result in results:  # the place in a request says nothing to who did not make it
            if isinstance(result, TextError):
                result.fields.pop("index", None)
        return results

    async def describe(self, model: str, version: str | None) -> Description:
        """What the model's handler says of itself."""
        (described,) = await self._ask(Describe(model, version, customized=True))
        metadata = described.get("customizedMetadata")
        if not metadata:
            raise ClientError(f"{model} says nothing of itself; was it built with bertserve?")
        return read_description(metadata)

    async def ready(self, model: str, version: str | None) -> bool:
        """Whether all workers of the model are READY; asked once, since no answer is one too."""
        try:
            (described,) = await self._ask(Describe(model, version), deadline=0)
        except (Unavailable, TimedOut):
            return False
        found = read_model(described, default="")
        return found.ready > 0 and found.state == "READY"

    async def models(self) -> list[Model]:
        """Every version of every model."""
        found: list[Model] = []
        operation: ListModels | None = ListModels()
        while operation:
            page = await self._ask(operation)
            for listed in page["models"]:
                name = listed["modelName"]
                (default,) = await self._ask(Describe(name))
                versions = await self._ask(Describe(name, "all"))
                found += [read_model(version, default["modelVersion"]) for version in versions]
            token = page.get("nextPageToken")
            operation = ListModels(int(token)) if token else None
        return found

    async def _predict(
        self, model: str, version: str | None, body: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """One answer a text; a request that was refused as a whole raises its TextError."""
        answer = await self._ask(Predict(model, version, json.dumps(body).encode()))
        texts = body.get("texts")
        if texts is None:
            answers, wanted = [answer], 1
        elif isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            error = TextError(**answer["error"])
            raise TooLarge(error.message) if error.code == "too_many_texts" else error
        else:
            answers, wanted = answer, len(texts)
        if (
            not isinstance(answers, list)
            or len(answers) != wanted
            or not all(map(_is_map, answers))
        ):
            raise _unexpected()
        return answers

    async def _ask(self, operation: Operation, deadline: float | None = None) -> Any:
        content = await self._send(operation, self.deadline if deadline is None else deadline)
        try:
            return json.loads(content)
        except ValueError as error:
            raise _unexpected() from error

    async def _send(self, operation: Operation, deadline: float) -> bytes:
        """Send until it is answered: again with a new key, and again after a pause."""
        last = time.monotonic() + deadline
        key = await self._key(operation.kind)
        for attempt in count():
            try:
                return await self.transport.send(operation, key, self.timeout)
            except KeyRefused:
                refused, key = key, await self._key(operation.kind, renew=True)
                if key == refused:
                    raise
            except Unavailable:
                pause = random.uniform(0.5, 1) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
                if time.monotonic() + pause > last:
                    raise
                await settle(self.mode.sleep(pause))
        raise AssertionError  # the loop has no end

    async def _key(self, kind: Kind, *, renew: bool = False) -> str | None:
        if renew or kind not in self._keys:
            self._keys[kind] = await settle(self.mode.call(self.read_key, kind))
        return self._keys[kind]


def _is_map(answer: object) -> bool:
    return isinstance(answer, dict) and bool(answer)


def _unexpected() -> ClientError:
    return ClientError(
        "the answer is not one of this protocol; does the model come from bertserve?"
    )

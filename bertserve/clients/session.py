"""What a client says to a server: requests, answers, keys, and when to try again.

It is written once, as coroutines, for the blocking and the asynchronous clients, over HTTP and gRPC. A
blocking client gives it a transport and a `Mode` that block instead of awaiting, see `concurrency`.
"""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from ..errors import (
    ClientError,
    KeyRefused,
    ModelNotFound,
    ServerError,
    TextError,
    TimedOut,
    TooLarge,
    Unavailable,
    WorkerDied,
)
from ..inputs import Input
from .batches import Batches, Source
from .concurrency import Mode, settle
from .keys import KeyReader, Kind
from .operations import Describe, ListModels, Operation, Predict, Transport
from .results import (
    Description,
    Explanation,
    Limits,
    Model,
    Options,
    Prediction,
    from_wire,
    is_error,
    read_description,
    read_explanation,
    read_model,
    to_wire,
)

Result = TypeVar("Result")
# a version, None for the default one, or what picks one for the text of a request, as Canary does
Version = str | Callable[[str], str | None] | None

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_SHORTEST_TRY = 1.0
_MOST_RENEWALS = 2
_MOST_DEATHS = 2
# errors of a request that fewer texts do not have
_FOR_FEWER = ("too_many_texts", "answer_too_large")


@dataclass
class Session:
    """`read_key` is asked for a key again when the server refuses the last one.

    `timeout` is how long one try may stay without an answer, `deadline` when no other one is begun, in
    seconds.
    """

    transport: Transport
    mode: Mode
    read_key: KeyReader
    timeout: float
    deadline: float

    def __post_init__(self) -> None:
        self._keys: dict[Kind, str | None] = {}

    async def close(self) -> None:
        """Close the connections; requests that wait for another try end."""
        self.mode.close()
        await self.transport.close()

    async def classify(
        self, model: str, version: Version, text: Input, options: Options
    ) -> Prediction:
        """Classify one text; raises the TextError that the model answers."""
        (answer,) = await self._predict(model, version, {**to_wire(text), **options})
        result = from_wire(answer)
        if isinstance(result, TextError):
            raise result
        return result

    async def classify_batch(
        self, model: str, version: Version, texts: Sequence[Input], options: Options
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
        late = [index for index, result in enumerate(results) if _is_overloaded(result)]
        if 0 < len(late) < len(texts):
            again = await self.classify_batch(model, version, [texts[i] for i in late], options)
            for index, result in zip(late, again, strict=True):
                results[index] = result
        for result in results:  # the place in a request says nothing to who did not make it
            if isinstance(result, TextError):
                result.fields.pop("index", None)
        return results

    async def classify_each(
        self, model: str, version: Version, texts: Any, options: Options, in_flight: int
    ) -> AsyncGenerator[list[Prediction | TextError], None]:
        """Results request by request, in order, of texts that are read a few requests ahead."""
        batches, source = Batches(), Source(texts)
        window: deque[Any] = deque()

        def start(batch: list[Input]) -> None:
            window.append(self.mode.start(self.classify_batch, model, version, batch, options))

        try:
            async for text in source:
                for batch in batches.add(text):
                    start(batch)
                while len(window) >= in_flight or (window and window[0].done()):
                    yield await settle(self.mode.result(window.popleft()))
            if batches.rest:
                start(batches.rest)
            while window:
                yield await settle(self.mode.result(window.popleft()))
        finally:  # whoever is interrupted does not wait for what is under way
            for started in window:
                started.cancel()
        source.raise_failure()

    async def explain(
        self, model: str, version: Version, text: Input, label: str | None, limits: Limits
    ) -> Explanation:
        """Explain a prediction; raises the TextError that the model answers."""
        body = {**to_wire(text), **limits, "label": label, "explain": True}
        (answer,) = await self._predict(model, version, body)
        try:
            result = read_explanation(answer)
        except (LookupError, TypeError) as error:
            raise _unexpected() from error
        if isinstance(result, TextError):
            are_known = limits.keys() <= Limits.__annotations__.keys()
            raise _too_old() if result.code == "unknown_key" and are_known else result
        return result

    async def describe(self, model: str, version: Version) -> Description:
        """What the model's handler says of itself."""
        operation = Describe(model, _named(version), customized=True)
        return await self._ask(operation, lambda page: read_description(page[0]))

    async def ready(self, model: str, version: Version) -> bool:
        """Whether all workers of the model are READY; asked once, since no answer is one too."""
        try:
            found = await self._ask(
                Describe(model, _named(version)),
                lambda page: read_model(page[0], default=""),
                deadline=0,
            )
        except (Unavailable, TimedOut):
            return False
        return found.ready > 0 and found.state == "READY"

    async def models(self) -> list[Model]:
        """Every version of every model."""
        found: list[Model] = []
        operation: ListModels | None = ListModels()
        while operation:
            names, token = await self._ask(operation, _read_page)
            for name in names:
                found += await self._versions(name)
            operation = ListModels(token) if token else None
        return found

    async def _versions(self, name: str) -> list[Model]:
        default = await self._ask(Describe(name), lambda page: str(page[0]["modelVersion"]))
        return await self._ask(
            Describe(name, "all"), lambda page: [read_model(version, default) for version in page]
        )

    async def _predict(
        self, model: str, version: Version, body: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """One answer a text; a request that was refused as a whole raises its TextError."""
        texts = body.get("texts")

        def read(answer: Any) -> list[dict[str, Any]]:
            if texts is not None and is_error(answer):
                kind = TooLarge if answer["error"]["code"] in _FOR_FEWER else TextError
                raise kind(**answer["error"])
            answers, wanted = ([answer], 1) if texts is None else (answer, len(texts))
            if not isinstance(answers, list) or len(answers) != wanted:
                raise _unexpected()
            if not all(map(_is_map, answers)):
                raise _unexpected()
            return answers

        picked = version(_text(body)) if callable(version) else version
        content = _to_json(body)
        try:
            return await self._ask(Predict(model, picked, content), read)
        except ModelNotFound:
            if picked is None or not callable(version):
                raise
        return await self._ask(Predict(model, None, content), read)  # the canary was taken away

    async def _ask(
        self,
        operation: Operation,
        read: Callable[[Any], Result],
        deadline: float | None = None,
    ) -> Result:
        content = await self._send(operation, self.deadline if deadline is None else deadline)
        try:
            return read(json.loads(content))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise _unexpected() from error

    async def _send(self, operation: Operation, deadline: float) -> bytes:
        """Send until it is answered: again with a new key, and again after a pause."""
        last = time.monotonic() + deadline
        timeout = min(self.timeout, deadline) if deadline else self.timeout
        # a file that is missing at first is a mistake: no second try
        await self._key(operation.kind)
        refusal: KeyRefused | None = None
        refused: list[str | None] = []
        deaths = 0
        for attempt in count():
            try:
                key = await self._key(operation.kind, refused, refusal)
                if refusal and key in refused:
                    raise refusal
                return await self.transport.send(operation, key, timeout)
            except KeyRefused as error:
                if key in refused or len(refused) == _MOST_RENEWALS:
                    raise
                refusal = error
                refused.append(key)
            except Unavailable as error:
                deaths += isinstance(error, WorkerDied)
                pause = random.uniform(0.5, 1) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
                pause += error.retry_after
                left = last - time.monotonic() - pause
                if left < 0 or deaths > _MOST_DEATHS:
                    raise
                timeout = min(self.timeout, max(left, _SHORTEST_TRY))
                await settle(self.mode.sleep(pause))
        raise AssertionError  # the loop has no end

    async def _key(
        self,
        kind: Kind,
        refused: Sequence[str | None] = (),
        refusal: KeyRefused | None = None,
    ) -> str | None:
        if kind not in self._keys or self._keys[kind] in refused:
            last = refused[-1] if refusal and not refusal.by_proxy else None
            try:
                self._keys[kind] = await settle(self.mode.call(self.read_key, kind, last))
            except ServerError as error:  # the file is away, as the server may be
                raise Unavailable(str(error)) from error
        return self._keys[kind]


def _read_page(page: Any) -> tuple[list[str], int]:
    """Names of models, and the token of the next page; 0 where there is none."""
    return [model["modelName"] for model in page["models"]], int(page.get("nextPageToken") or 0)


def _to_json(body: dict[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which the model refuses in its place
        return json.dumps(body).encode()


def _named(version: Version) -> str | None:
    """The version that is meant where none is picked for each request."""
    return None if callable(version) else version


def _text(body: dict[str, Any]) -> str:
    """All texts of a request."""
    texts = body.get("texts", [body])
    return "\n".join(
        str(text[key]) for text in texts for key in ("text", "text_pair") if key in text
    )


def _is_overloaded(result: Prediction | TextError) -> bool:
    return isinstance(result, TextError) and result.code == "overloaded"


def _is_map(answer: object) -> bool:
    return isinstance(answer, dict) and bool(answer)


def _too_old() -> TextError:
    return TextError(
        "explanations_unsupported",
        "the model's archive was packaged before there were explanations; package it again, as a new "
        "version, and roll that out",
    )


def _unexpected() -> ClientError:
    return ClientError(
        "the answer is not one of this protocol; does the model come from bertserve?"
    )

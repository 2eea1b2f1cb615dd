"""Classify texts over HTTP or gRPC, blocking or asynchronously; all four clients do the same.

with Client("support", key_file="key_file.json") as client:
    client.classify("Where is my parcel?").label
    client.classify(["Where is my parcel?", "I forgot my password"])
    for prediction in client.classify_each(open("questions.txt")): ...
    client.explain("Where is my parcel?").strongest

async with AsyncGrpcClient("support", key_file="key_file.json") as client:
    (await client.classify("Where is my parcel?")).label

They raise the errors of `bertserve.errors`: TextError for a text that the model refuses (among several
texts it stands in the place of that text), other ClientErrors where there is no answer.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sized,
)
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, overload

import grpc
import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from typing_extensions import Self, Unpack

from ..errors import ConfigError, TextError
from ..inputs import Input
from .concurrency import Asynchronous, Blocking, Mode, finish
from .grpc_transport import CHANNEL_OPTIONS, GrpcTransport
from .http_transport import HttpTransport
from .keys import KeyReader, Kind, fresh_key, read_key
from .operations import Transport
from .results import Description, Explanation, Limits, Model, Options, Prediction
from .session import Session, Version

# a proxy of the environment must not see the keys of a server on this machine
NO_PROXY = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
IN_FLIGHT = 4

Key = str | KeyReader | None
Results = list[Prediction | TextError]


class _Model(ABC):
    """One served model, and the session about it."""

    @abstractmethod
    def _make_mode(self, in_flight: int) -> Mode:
        """How it waits."""

    def __init__(
        self,
        transport: Transport,
        model: str,
        version: Version,
        read_key: KeyReader,
        timeout: float,
        deadline: float,
        in_flight: int,
    ) -> None:
        self.model = model
        self.version = version
        mode = self._make_mode(in_flight)
        self._session = Session(transport, mode, read_key, timeout, deadline)
        self._in_flight = in_flight

    def _batches(self, texts: Any, options: Options) -> AsyncGenerator[Results, None]:
        return self._session.classify_each(
            self.model, self.version, texts, options, self._in_flight
        )


class _Blocking(_Model):
    def _make_mode(self, in_flight: int) -> Mode:
        return Blocking(in_flight)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; requests that wait for another try end."""
        finish(self._session.close())

    @overload  # a str is an iterable of str too, and means one text here
    def classify(  # type: ignore[overload-overlap]
        self, texts: Input, *, progress: bool = False, **options: Unpack[Options]
    ) -> Prediction: ...

    @overload
    def classify(
        self, texts: Iterable[Input], *, progress: bool = False, **options: Unpack[Options]
    ) -> list[Prediction | TextError]: ...

    def classify(
        self, texts: Input | Iterable[Input], *, progress: bool = False, **options: Unpack[Options]
    ) -> Prediction | list[Prediction | TextError]:
        """Classify one text, or any number of them, in order.

        A text alone that the model refuses raises its TextError; among several the error stands in the
        place of that text. `progress` shows a bar on standard error.
        """
        if isinstance(texts, Input):
            return finish(self._session.classify(self.model, self.version, texts, options))
        return list(self.classify_each(texts, progress=progress, **options))

    def classify_each(
        self, texts: Iterable[Input], *, progress: bool = False, **options: Unpack[Options]
    ) -> Iterator[Prediction | TextError]:
        """Classify texts as they come and are asked for, in order, a few requests ahead."""
        batches = self._batches(texts, options)
        with _bar(texts, progress) as advance:
            try:
                while True:
                    yield from advance(finish(anext(batches)))
            except StopAsyncIteration:
                return
            finally:
                finish(batches.aclose())

    def explain(
        self, text: Input, label: str | None = None, **limits: Unpack[Limits]
    ) -> Explanation:
        """Which words carried the prediction of a text: for a label, or for the predicted one.

        TextError where the model refuses; its code is `explanations_unsupported` where the server cannot
        explain at all. A server whose explanations had their share of its time is asked again.
        """
        explained = self._session.explain(self.model, self.version, text, label, limits)
        return finish(explained)

    def describe(self) -> Description:
        """What the model's handler says of itself: labels, precision, checksums and more."""
        return finish(self._session.describe(self.model, self.version))

    def ready(self) -> bool:
        """Whether all workers of the model are READY."""
        return finish(self._session.ready(self.model, self.version))

    def models(self) -> list[Model]:
        """Every version of every model that the server has."""
        return finish(self._session.models())


class _Asynchronous(_Model):
    def _make_mode(self, _: int) -> Mode:
        return Asynchronous()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    @overload  # a str is an iterable of str too, and means one text here
    async def classify(  # type: ignore[overload-overlap]
        self, texts: Input, *, progress: bool = False, **options: Unpack[Options]
    ) -> Prediction: ...

    @overload
    async def classify(
        self,
        texts: Iterable[Input] | AsyncIterable[Input],
        *,
        progress: bool = False,
        **options: Unpack[Options],
    ) -> list[Prediction | TextError]: ...

    async def classify(
        self,
        texts: Input | Iterable[Input] | AsyncIterable[Input],
        *,
        progress: bool = False,
        **options: Unpack[Options],
    ) -> Prediction | list[Prediction | TextError]:
        """Classify one text, or any number of them, in order.

        A text alone that the model refuses raises its TextError; among several the error stands in the
        place of that text. `progress` shows a bar on standard error.
        """
        if isinstance(texts, Input):
            return await self._session.classify(self.model, self.version, texts, options)
        results = self.classify_each(texts, progress=progress, **options)
        return [result async for result in results]

    async def classify_each(
        self,
        texts: Iterable[Input] | AsyncIterable[Input],
        *,
        progress: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Prediction | TextError]:
        """Classify texts as they come and are asked for, in order, a few requests ahead."""
        batches = self._batches(texts, options)
        with _bar(texts, progress) as advance:
            try:
                async for results in batches:
                    for result in advance(results):
                        yield result
            finally:
                await batches.aclose()

    async def explain(
        self, text: Input, label: str | None = None, **limits: Unpack[Limits]
    ) -> Explanation:
        """Which words carried the prediction of a text: for a label, or for the predicted one.

        TextError where the model refuses; its code is `explanations_unsupported` where the server cannot
        explain at all. A server whose explanations had their share of its time is asked again.
        """
        explained = self._session.explain(self.model, self.version, text, label, limits)
        return await explained

    async def describe(self) -> Description:
        """What the model's handler says of itself: labels, precision, checksums and more."""
        return await self._session.describe(self.model, self.version)

    async def ready(self) -> bool:
        """Whether all workers of the model are READY."""
        return await self._session.ready(self.model, self.version)

    async def models(self) -> list[Model]:
        """Every version of every model that the server has."""
        return await self._session.models()


class _OverHttp(_Model):
    _library: ClassVar[type[httpx.Client] | type[httpx.AsyncClient]]

    def __init__(
        self,
        model: str,
        *,
        version: Version = None,
        url: str = "http://127.0.0.1:8080",
        management_url: str = "http://127.0.0.1:8081",
        verify: ssl.SSLContext | bool = True,
        key: Key = None,
        key_file: str | Path | None = None,
        timeout: float = 90.0,
        deadline: float = 180.0,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        def from_file(path: Path) -> KeyReader:
            return lambda kind, refused: fresh_key(path, kind, management_url, refused)

        super().__init__(
            HttpTransport(self._library(mounts=NO_PROXY, verify=verify), url, management_url),
            model,
            version,
            _key_reader(key, key_file, from_file),
            timeout,
            deadline,
            in_flight,
        )


class _OverGrpc(_Model):
    _library: ClassVar[Any]

    def __init__(
        self,
        model: str,
        *,
        version: Version = None,
        target: str = "127.0.0.1:7070",
        management_target: str = "127.0.0.1:7071",
        credentials: grpc.ChannelCredentials | None = None,
        key: Key = None,
        key_file: str | Path | None = None,
        timeout: float = 90.0,
        deadline: float = 180.0,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        def from_file(path: Path) -> KeyReader:
            return lambda kind, refused: read_key(path, kind, refused)

        def channel(address: str) -> Any:
            if credentials is None:
                return self._library.insecure_channel(address, options=CHANNEL_OPTIONS)
            return self._library.secure_channel(address, credentials, options=CHANNEL_OPTIONS)

        targets: dict[Kind, str] = {"inference": target, "management": management_target}
        super().__init__(
            GrpcTransport(channel, targets),
            model,
            version,
            _key_reader(key, key_file, from_file),
            timeout,
            deadline,
            in_flight,
        )


class Client(_OverHttp, _Blocking):
    """Talks to one served model over HTTP.

    version               one version, None for the default one, or a Canary
    url, management_url   where the server listens; the second is for describe(), ready() and models()
    verify                which certificates to trust where the URLs are https: those of a certificate
                          authority of your own by ssl.create_default_context(cafile="ca.pem")
    key                   the inference key, or a function that gives a valid key: of a kind, and another
                          one than the key that TorchServe refused, which it is told too
    key_file              TorchServe's key_file.json, in place of `key`; it is read again when the server
                          refuses a key, and one that is still the same, or has expired, is renewed
    timeout               seconds that one try may stay without an answer
    deadline              seconds after which a request is not tried again
    in_flight             requests of up to 32 texts that are under way at once
    """

    _library = httpx.Client


class AsyncClient(_OverHttp, _Asynchronous):
    """The asynchronous twin of `Client`."""

    _library = httpx.AsyncClient


class GrpcClient(_OverGrpc, _Blocking):
    """Talks to one served model over gRPC.

    target, management_target   host:port; the second is for describe(), ready() and models()
    credentials                 TLS, by grpc.ssl_channel_credentials(); none by default
    key_file                    is read again when the server refuses a key; a key that has expired can
                                only be renewed over HTTP, which `Client` does

    The others are those of `Client`.
    """

    _library: ClassVar[Any] = grpc


class AsyncGrpcClient(_OverGrpc, _Asynchronous):
    """The asynchronous twin of `GrpcClient`."""

    _library: ClassVar[Any] = grpc.aio


def _key_reader(
    key: Key, key_file: str | Path | None, from_file: Callable[[Path], KeyReader]
) -> KeyReader:
    if key_file is not None:
        try:
            return from_file(Path(key_file).expanduser())
        except RuntimeError:
            raise ConfigError(
                f"{key_file} begins with a home folder, and there is none; give the whole path"
            ) from None
    if callable(key):
        return key
    fixed = key.strip() if key else None  # files that hold a key end with a line break
    return lambda *_: fixed


@contextmanager
def _bar(texts: object, shown: bool) -> Iterator[Callable[[Results], Results]]:
    """A function that passes results on and moves a bar."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("classifying", total=len(texts) if isinstance(texts, Sized) else None)

        def advance(results: Results) -> Results:
            bar.advance(task, len(results))
            return results

        yield advance

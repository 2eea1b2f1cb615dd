"""The four clients against a real server: the same methods, the same results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import tiny
from bertserve import AsyncClient, AsyncGrpcClient, Client, GrpcClient, Pair, Prediction, TextError
from bertserve.archives.packaging import usual_workers
from bertserve.errors import KeyRefused, ModelNotFound
from bertserve.handler.values import Prediction as Expected
from bertserve.handler.values import Text
from bertserve.serving.server import Server
from serving import Served

Make = Callable[..., Any]
KINDS = {
    "http": Client,
    "grpc": GrpcClient,
    "async http": AsyncClient,
    "async grpc": AsyncGrpcClient,
}


class Blocking:
    """An asynchronous client as a blocking one, so that one test does for all four."""

    def __init__(
        self, client: AsyncClient | AsyncGrpcClient, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def run(*args: Any, **options: Any) -> Any:
            async def wait() -> Any:
                called = method(*args, **options)
                if isinstance(called, Coroutine):
                    return await called
                return [result async for result in called]

            return self._loop.run_until_complete(wait())

        return run


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, served: Served) -> Iterable[Make]:
    """Makes clients of one kind; by default of the tests' server and its tiny model."""
    kind = KINDS[request.param]
    is_async = kind in (AsyncClient, AsyncGrpcClient)
    with ExitStack() as stack:
        loop = asyncio.new_event_loop() if is_async else None
        if loop:
            stack.callback(loop.close)

        def launch(model: str = "tiny", server: Server = served.server, **options: Any) -> Any:
            addresses = server.addresses
            where = (
                {"url": addresses.inference, "management_url": addresses.management}
                if kind in (Client, AsyncClient)
                else {
                    "target": addresses.grpc_inference,
                    "management_target": addresses.grpc_management,
                }
            )
            key = {} if {"key", "key_file"} & options.keys() else {"key": server.key}

            async def opened() -> Any:  # grpc.aio wants to be made inside its loop
                return kind(model, **{**where, **key, **options})

            if loop is None:
                return stack.enter_context(kind(model, **{**where, **key, **options}))
            client = Blocking(loop.run_until_complete(opened()), loop)
            stack.callback(client.close)
            return client

        yield launch


@pytest.fixture
def client(make: Make) -> Any:
    return make()


def expected(served: Served, *texts: str | tuple[str, str]) -> list[Any]:
    """Maps of this process' own pipeline, to compare with within 1e-5."""
    inputs = [Text(text) if isinstance(text, str) else Text(*text) for text in texts]
    results = served.tiny.pipeline(inputs)
    assert all(isinstance(result, Expected) for result in results)
    return [pytest.approx(result.probabilities, abs=1e-5) for result in results]  # type: ignore[union-attr]


def test_one_text(client: Any, served: Served) -> None:
    result = client.classify("good film")
    assert [dict(result.probabilities)] == expected(served, "good film")
    assert result.label == max(result.probabilities, key=result.probabilities.__getitem__)
    assert result.probability == max(result.probabilities.values())
    assert result.tokens is None


def test_a_pair_and_options(client: Any, served: Served) -> None:
    result = client.classify(Pair("good", "film"), top_k=2, details=True)
    (whole,) = expected(served, ("good", "film"))
    assert (
        result.probabilities == dict(list(whole.expected.items())[:2])
        or len(result.probabilities) == 2
    )
    assert (result.model, result.version, result.truncated) == ("tiny", "1.0", False)
    assert list(result.logits) == list(result.probabilities)
    cut = client.classify("good " * 200, max_length=16, details=True)
    assert (cut.tokens, cut.truncated) == (16, True)
    with pytest.raises(TextError) as raised:
        client.classify("good " * 200, truncate=False)
    assert raised.value.code == "text_too_long"


def test_many_texts_in_order(client: Any, served: Served) -> None:
    texts = [f"{word} {count}" for count in range(20) for word in tiny.WORDS]
    results = client.classify(iter(texts))
    assert [dict(result.probabilities) for result in results] == expected(served, *texts)
    assert client.classify_each(texts[:40]) is not None


def test_no_text_is_no_request(make: Make) -> None:
    assert make("nobody").classify([]) == []


def test_a_text_that_is_refused(client: Any) -> None:
    with pytest.raises(TextError, match="empty") as raised:
        client.classify(" ")
    assert raised.value.code == "empty_text"
    good, bad, surrogate = client.classify(["good", " ", "\ud800"])
    assert isinstance(good, Prediction)
    assert (bad.code, bad.fields) == ("empty_text", {})
    assert surrogate.code == "invalid_text"


def test_a_wrong_option_is_an_error_of_the_request(client: Any) -> None:
    for texts in ("good", ["good", "film"]):
        with pytest.raises(TextError) as raised:
            client.classify(texts, top_k=0)
        assert raised.value.code == "invalid_value"


def test_requests_that_are_too_large_are_split(client: Any) -> None:
    texts = ["good " * 19_000] * 20 + ["\u4e00" * 60_000, "x" * 100_001, "y" * 1_100_000]
    results = client.classify(texts)
    assert all(isinstance(result, Prediction) for result in results[:21])
    assert [result.code for result in results[21:]] == ["text_too_long", "too_large"]


def test_what_is_served(client: Any, make: Make) -> None:
    assert client.ready() is True
    assert client.describe().labels == tiny.LABELS
    (model,) = (model for model in client.models() if model.name == "tiny")
    assert (model.version, model.default, model.state) == ("1.0", True, "READY")
    assert model.ready == usual_workers()
    assert all(worker.status == "READY" for worker in model.workers)
    for other in (make("nobody"), make(version="9.9")):
        for call in (other.ready, other.describe, lambda other=other: other.classify("a")):
            with pytest.raises(ModelNotFound):
                call()


def test_a_version_can_be_named(make: Make) -> None:
    assert make(version="1.0").classify("good", details=True).version == "1.0"


class TestKeys:
    def test_a_wrong_key_is_refused(self, make: Make) -> None:
        for options in ({"key": "wrong"}, {"key": None}):
            with pytest.raises(KeyRefused):
                make(**options).classify("good")

    def test_the_key_file_is_read_again_when_the_key_is_refused(
        self, make: Make, served: Served, tmp_path: Path
    ) -> None:
        served.server.key("inference")  # renewed if need be
        keys = json.loads(served.server.key_file.read_bytes())
        # and no key that makes new ones
        stale = {
            **keys,
            "inference": {**keys["inference"], "key": "stale"},
            "API": {"key": "stale"},
        }
        key_file = tmp_path / "key_file.json"
        key_file.write_text(json.dumps(stale))
        client = make(key_file=key_file)
        with pytest.raises(KeyRefused):
            client.classify("good")
        key_file.write_text(json.dumps(keys))
        assert client.classify("good").label in tiny.LABELS


def test_an_asynchronous_source_is_read_as_it_comes(served: Served) -> None:
    asked: list[int] = []

    async def source() -> AsyncIterator[str]:
        for number in range(10_000):
            asked.append(number)
            yield f"good {number}"

    async def read_some() -> int:
        server = served.server
        async with AsyncClient("tiny", url=server.addresses.inference, key=server.key) as client:
            results = client.classify_each(source())
            seen = 0
            async for _ in results:
                seen += 1
                if seen == 50:
                    break
            await results.aclose()  # type: ignore[attr-defined]
            return seen

    assert asyncio.run(read_some()) == 50
    assert len(asked) < 500


def test_a_blocking_source_is_read_as_it_comes(served: Served) -> None:
    asked: list[int] = []

    def source() -> Iterable[str]:
        for number in range(10_000):
            asked.append(number)
            yield f"good {number}"

    with served.server.grpc_client("tiny") as client:
        results = client.classify_each(source())
        assert len([next(results) for _ in range(50)]) == 50
        results.close()  # type: ignore[attr-defined]
    assert len(asked) < 500


def test_progress_is_shown_where_asked(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    with served.server.client("tiny") as client:
        client.classify(["good"] * 40)
        assert capfd.readouterr().err == ""
        client.classify(["good"] * 40, progress=True)
    assert "40/40" in capfd.readouterr().err

"""What goes wrong in production, done on purpose to a server under load, and what callers saw of it."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc
import psutil

from bertserve.clients.client import Client, GrpcClient
from bertserve.clients.keys import bearer
from bertserve.errors import BertserveError
from bertserve.protos import inference_pb2
from bertserve.serving.server import Server
from bertserve.versions.versions import Versions
from serving import PATIENCE, wait_until

TEXT = "good film"
_BREATH = 0.02  # seconds; who was refused does not ask again at once


@dataclass
class Seen:
    """What callers saw: answers by version, what failed and why, and the longest silence in seconds."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    silence: float = 0.0
    wrong: list[Any] = field(default_factory=list)
    _last: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, version: str) -> None:
        """An answer came."""
        with self._lock:
            now = time.monotonic()
            self.silence, self._last = max(self.silence, now - self._last), now
            self.answers[version] += 1

    def failed(self, reason: str) -> None:
        """A request ended without one."""
        with self._lock:
            self.failures[reason] += 1

    def assert_whole(self) -> None:
        """Nothing failed, and nothing that came was wrong."""
        assert not self.failures, self.failures
        assert not self.wrong, self.wrong
        assert self.answers.total() > 0

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self.answers.total() + self.failures.total()


class Place(Protocol):
    """A server, or a proxy in front of some."""

    def client(self, model: str) -> Client: ...

    def grpc_client(self, model: str) -> GrpcClient: ...


@contextmanager
def our_callers(
    server: Place, model: str = "tiny", threads: int = 6, text: str = TEXT
) -> Iterator[Seen]:
    """Our clients, two thirds over HTTP and one over gRPC, which ask without pause.

    An answer is wrong unless its labels are those that the version gave to the text before.
    """
    seen = Seen()
    known: dict[str, Mapping[str, float]] = {}

    def call(number: int, ended: threading.Event) -> None:
        make = server.grpc_client if number % 3 == 2 else server.client
        with make(model) as client:
            while not ended.is_set():
                try:
                    answer = client.classify(text, details=True)
                except BertserveError as error:
                    seen.failed(f"{type(error).__name__}: {error}")
                    continue
                version = str(answer.version)
                expected = known.setdefault(version, answer.probabilities)
                if not _near(answer.probabilities, expected):
                    seen.wrong.append(answer)
                seen.answered(version)

    with _threads(call, threads):
        yield seen


@contextmanager
def foreign_callers(
    address: str,
    key: Callable[[], str | None],
    model: str = "tiny",
    threads: int = 4,
    labels: Mapping[str, set[str]] | None = None,
    trust: ssl.SSLContext | None = None,
) -> Iterator[Seen]:
    """Plain HTTP clients that never ask again; they take the present key for each new connection.

    `trust` is for an https address.

    An answer is wrong unless its labels are those of its version, where `labels` says which.
    """
    seen = Seen()
    url = urlsplit(address)
    body = json.dumps({"text": TEXT, "details": True}).encode()

    def ask(connection: http.client.HTTPConnection, headers: dict[str, str]) -> str | None:
        connection.request("POST", f"/predictions/{model}", body, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            seen.failed(f"status {response.status}")
            return None
        answer = json.loads(content)
        if labels and set(answer["probabilities"]) != labels[answer["version"]]:
            seen.wrong.append(answer)
        return str(answer["version"])

    def connect() -> http.client.HTTPConnection:
        host = url.hostname or ""
        if trust is None:
            return http.client.HTTPConnection(host, url.port, PATIENCE)
        return http.client.HTTPSConnection(host, url.port, timeout=PATIENCE, context=trust)

    def call(_: int, ended: threading.Event) -> None:
        while not ended.is_set():
            connection = connect()
            try:
                headers = {"Content-Type": "application/json", **bearer(key())}
                while not ended.is_set() and (version := ask(connection, headers)):
                    seen.answered(version)
            except TimeoutError:
                seen.failed("hung")
            except (OSError, http.client.HTTPException, BertserveError, ValueError) as error:
                seen.failed(type(error).__name__)
            finally:
                connection.close()
            ended.wait(_BREATH)

    with _threads(call, threads):
        yield seen


INFERENCE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"
OPEN_INFERENCE = "/org.pytorch.serve.grpc.openinference.GRPCInferenceService"
_IMPATIENT = 4  # threads


@contextmanager
def impatient_callers(
    channel: Callable[[], grpc.Channel],
    url: str,
    key: Callable[[], str | None],
    latency: float,
    trust: ssl.SSLContext | None = None,
    model: str = "tiny",
) -> Iterator[Counter[str]]:
    """Callers of every protocol who give up around the moment of the answer; how their calls ended.

    They call Predictions, ModelInfer and StreamPredictions2 with deadlines of 0.6 to 1.8 times `latency`,
    in seconds, or cancel then; and plain HTTP, whose connection they close then.
    """
    ended: Counter[str] = Counter()

    def call(number: int, done: threading.Event) -> None:
        chance = random.Random(number)
        with channel() as opened:
            while not done.is_set():
                wait = latency * chance.uniform(0.6, 1.8)
                metadata = tuple((name.lower(), each) for name, each in bearer(key()).items())
                if number == 0:
                    ended[_abort(url, key(), model, wait, trust)] += 1
                    continue
                way = chance.choices(_WAYS, weights=(8, 4, 1))[0]
                ended[f"{way.__name__} {way(opened, model, metadata, wait, chance)}"] += 1

    with _threads(call, _IMPATIENT):
        yield ended


Metadata = tuple[tuple[str, str], ...]


def predictions(
    channel: grpc.Channel, model: str, metadata: Metadata, wait: float, chance: random.Random
) -> str:
    """TorchServe's own call."""
    message = inference_pb2.PredictionsRequest(model_name=model, input={"data": TEXT.encode()})
    method: Any = channel.unary_unary(f"{INFERENCE}/Predictions")
    return _give_up(method, message.SerializeToString(), metadata, wait, chance)


def model_infer(
    channel: grpc.Channel, model: str, metadata: Metadata, wait: float, chance: random.Random
) -> str:
    """That of the Open Inference Protocol; its message is written by hand, as a few fields."""
    text = TEXT.encode()
    contents = _field(5, _field(8, text))
    tensor = _field(1, b"text") + _field(2, b"BYTES") + b"\x1a\x01\x01" + contents
    message = _field(1, model.encode()) + _field(5, tensor)
    return _give_up(
        channel.unary_unary(f"{OPEN_INFERENCE}/ModelInfer"), message, metadata, wait, chance
    )


def stream_predictions_2(
    channel: grpc.Channel, model: str, metadata: Metadata, wait: float, _: random.Random
) -> str:
    """A sequence of one request, whose end comes before the answer."""
    message = inference_pb2.PredictionsRequest(model_name=model, input={"data": TEXT.encode()})
    sequence = message.SerializeToString() + _field(4, b"sequence")
    method: Any = channel.stream_stream(f"{INFERENCE}/StreamPredictions2")
    try:
        return f"{len(list(method(iter([sequence]), timeout=max(wait, 1), metadata=metadata)))} answers"
    except grpc.RpcError as error:
        return str(error.code().name)


_WAYS = (predictions, model_infer, stream_predictions_2)


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes of a protobuf message, shorter than 128."""
    return bytes([number << 3 | 2, len(content)]) + content


def _give_up(
    method: Any, message: bytes, metadata: Metadata, wait: float, chance: random.Random
) -> str:
    """Call with a deadline, or cancel in the end."""
    try:
        if chance.random() < 0.7:
            method(message, timeout=wait, metadata=metadata)
            return "answered"
        call = method.future(message, metadata=metadata)
        threading.Event().wait(wait)
        return "cancelled" if call.cancel() and call.cancelled() else "answered"
    except grpc.RpcError as error:
        return str(error.code().name)


def _abort(url: str, key: str | None, model: str, wait: float, trust: ssl.SSLContext | None) -> str:
    """An HTTP request whose connection is closed while its answer may be on the way."""
    address = urlsplit(url)
    kind = http.client.HTTPSConnection if trust else http.client.HTTPConnection
    options: dict[str, Any] = {"context": trust} if trust else {}
    connection = kind(address.hostname or "", address.port, timeout=wait, **options)
    try:
        connection.connect()
        headers = {"Content-Type": "text/plain", **bearer(key)}
        connection.request("POST", f"/predictions/{model}", TEXT.encode(), headers)
        connection.getresponse().read()
        return "HTTP answered"
    except (OSError, http.client.HTTPException):
        return "HTTP aborted"
    finally:
        connection.close()


@contextmanager
def _threads(call: Callable[[int, threading.Event], None], count: int) -> Iterator[None]:
    ended = threading.Event()
    threads = [threading.Thread(target=call, args=(number, ended)) for number in range(count)]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(ended.set)
        yield


def _near(found: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    return found.keys() == expected.keys() and all(
        abs(found[label] - expected[label]) < 1e-3 for label in expected
    )


def worker_pids(server: Server, model: str = "tiny") -> list[int]:
    """The workers of the default version that are READY."""
    workers = Versions(server).one(model).workers
    return [worker.pid for worker in workers if worker.status == "READY"]


def kill_worker(server: Server, model: str = "tiny") -> None:
    """SIGKILL to a worker that is READY, the first of them; waits until it is gone and there is one."""
    first = wait_until(lambda: worker_pids(server, model))[0]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: first not in (now := worker_pids(server, model)) and now)


def hang_worker(server: Server, model: str = "tiny") -> None:
    """A worker stops where it is; waits until TorchServe gave it up and another one took its place."""
    before = worker_pids(server, model)
    os.kill(before[0], signal.SIGSTOP)
    try:
        wait_until(lambda: _are_whole(worker_pids(server, model), before))
    finally:
        if psutil.pid_exists(before[0]):
            os.kill(before[0], signal.SIGKILL)


def _are_whole(now: Sequence[int], before: Sequence[int]) -> bool:
    return len(now) == len(before) and before[0] not in now


def kill_front_end(server: Server) -> None:
    """SIGKILL to Java; waits until its workers have noticed and ended."""
    process = psutil.Process(server.pid)
    workers = process.children(recursive=True)
    process.kill()
    process.wait(30)
    psutil.wait_procs(workers, 30)


def fill_disk(server: Server) -> None:
    """From now on no file of the front end can grow, so that no log line can be written."""
    psutil.Process(server.pid).rlimit(psutil.RLIMIT_FSIZE, (0, 0))

"""Random calls to a running server, and what must hold of each answer and of the server's processes."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import psutil

import bodies
import stubs
from bertserve.clients.keys import bearer
from bertserve.errors import ServerError
from bertserve.serving.server import Server
from bodies import Call
from handler.errors import STATUS_OF
from serving import PATIENCE

CONNECTIONS = 16
# what workers and front end allocate at first is theirs to keep
WARM_UP = 0.2
_ATTEMPTS = 3
_OUR_TYPE = "application/json"
# TorchServe's own answers to what it refuses before the handler sees it
_FOREIGN_STATUSES = (400, 404, 413)


@dataclass(frozen=True)
class Answer:
    """What came back; gRPC has no status and no content type. `value` is the JSON."""

    value: Any
    status: int | None = None
    media_type: str = _OUR_TYPE


@dataclass(frozen=True)
class Offence:
    """A call whose answer is wrong, and how to send it again."""

    number: int
    call: Call
    reason: str

    def __str__(self) -> str:
        digest = hashlib.sha256(self.call.body).hexdigest()[:12]
        size = len(self.call.body)
        return f"call {self.number} ({self.call.way}, {size} bytes, sha256 {digest}): {self.reason}"


@dataclass(frozen=True)
class Memory:
    """Resident bytes of the model's workers together and of the front end."""

    pids: frozenset[int]
    workers: int
    front_end: int


@dataclass
class Report:
    """Answers per code, the processes before, after the warm-up and at the end, and the first call that
    was answered wrongly.
    """

    before: Memory
    warm: Memory
    after: Memory
    answers: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    seconds: float = 0.0
    offence: Offence | None = None

    @property
    def growth(self) -> int:
        """Bytes that the workers grew by after the warm-up."""
        return self.after.workers - self.warm.workers

    @property
    def workers_stayed(self) -> bool:
        """Whether the workers are the same all the time."""
        return self.before.pids == self.warm.pids == self.after.pids

    def take(self, number: int, call: Call, answer: Answer | str) -> None:
        """Count an answer; a string says why there is none."""
        reason = answer if isinstance(answer, str) else complaint(call, answer)
        if reason is not None:
            self.offence = Offence(number, call, reason)
        elif isinstance(answer, Answer):
            self.answers[name_of(answer)] += 1


def call_of(seed: int, number: int) -> Call:
    """The call with a number, the same for the same seed whatever was sent before."""
    return bodies.make(random.Random(f"{seed}:{number}"))


def fuzz(
    server: Server,
    model: str,
    count: int,
    seed: int,
    first: int = 0,
    told: Callable[[int], None] = lambda _: None,
) -> Report:
    """Send `count` calls, several at once, until one is answered wrongly.

    `told` is given the number of answers so far.
    """
    before = measure(server, model)
    report = Report(before, before, before)
    sender = Sender(server, model)

    def send(number: int) -> tuple[int, Call, Answer | str]:
        call = call_of(seed, number)
        try:
            return number, call, sender(call)
        except (httpx.TransportError, grpc.RpcError, ValueError) as error:
            return number, call, f"no answer: {error!r}"[:300]

    started = time.monotonic()
    with sender.connected(), ThreadPoolExecutor(CONNECTIONS) as pool:
        sent = pool.map(send, range(first, first + count))
        for done, (number, call, answer) in enumerate(sent, 1):
            report.take(number, call, answer)
            if report.offence:
                pool.shutdown(cancel_futures=True)
                break
            if done == round(count * WARM_UP):
                report.warm = measure(server, model)
            told(done)
    report.seconds = time.monotonic() - started
    report.after = measure(server, model)
    report.repeated = sender.repeated
    return report


def measure(server: Server, model: str) -> Memory:
    """The memory of the processes that serve a model."""
    pids = frozenset(
        worker["pid"]
        for served in server.status()["models"]
        if served["name"] == model
        for worker in served["workers"]
    )
    # a worker that has died has no memory; the process ids tell
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return Memory(
        pids=pids,
        workers=sum(process.memory_info().rss for process in alive),
        front_end=psutil.Process(server.pid).memory_info().rss,
    )


class Sender:
    """Sends calls to a model, whichever way they go."""

    def __init__(self, server: Server, model: str) -> None:
        self.server = server
        self.model = model
        self.repeated = 0
        versions = [m["version"] for m in server.status()["models"] if m["name"] == model]
        if not versions:
            raise ServerError(f"no model {model} is served; look at `bertserve status`")
        self.paths = {
            "predictions": f"/predictions/{model}",
            "version": f"/predictions/{model}/{versions[0]}",
            "invocations": f"/invocations?model_name={model}",
            "v1": f"/v1/models/{model}:predict",
            "v2": f"/v2/models/{model}/infer",
        }

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Hold the connections that calls share."""
        key = self.server.key("inference")
        self.metadata = [("authorization", f"Bearer {key}")] if key else []
        with (
            httpx.Client(
                base_url=self.server.addresses.inference,
                headers=bearer(key),
                limits=httpx.Limits(max_connections=CONNECTIONS),
                timeout=PATIENCE,
            ) as self.http,
            grpc.insecure_channel(self.server.addresses.grpc_inference) as channel,
        ):
            self.predict = stubs.method(channel, stubs.INFERENCE, "Predictions")
            self.stream = stubs.method(channel, stubs.INFERENCE, "StreamPredictions")
            self.infer = stubs.method(channel, stubs.OPEN_INFERENCE, "ModelInfer")
            yield

    def __call__(self, call: Call) -> Answer:
        """The answer of a call; ValueError where it is no JSON."""
        if call.way in self.paths:
            return self._post(call)
        options = {"metadata": [*self.metadata, *call.headers.items()], "timeout": 120}
        if call.way == "infer":
            message = {**json.loads(call.body), "model_name": self.model}
            return Answer(_tensors(self.infer(message, **options)))
        data = base64.b64encode(call.body).decode()
        message = {"model_name": self.model, "input": {"data": data}}
        if call.way == "grpc":
            return Answer(json.loads(self.predict(message, **options).prediction))
        (only,) = self.stream(message, **options)
        return Answer(json.loads(only.prediction))

    def _post(self, call: Call) -> Answer:
        headers = [
            (name.encode(), value.encode("latin-1"))
            for name, value in call.headers.items()
            if name != "transfer-encoding"
        ]
        is_chunked = "transfer-encoding" in call.headers
        for attempt in range(_ATTEMPTS):
            content = iter([call.body[:10], call.body[10:]]) if is_chunked else call.body
            try:
                response = self.http.post(self.paths[call.way], content=content, headers=headers)
                break
            except httpx.TransportError:
                # TorchServe resets the connection after each error; an answer may be lost with it
                self.repeated += 1
                if attempt == _ATTEMPTS - 1:
                    raise
        media_type = response.headers.get("content-type", "")
        return Answer(response.json(), response.status_code, media_type)


def _tensors(message: Any) -> dict[str, Any]:
    """The outputs of a ModelInferResponse by name; elements of BYTES are JSON text."""
    return {
        output.name: [json.loads(element) for element in output.contents.bytes_contents]
        or list(output.contents.fp32_contents)
        for output in message.outputs
    }


def complaint(call: Call, answer: Answer) -> str | None:
    """What is wrong with an answer: an undocumented status, code or shape; None where nothing is."""
    value, status = answer.value, answer.status
    if status is not None and is_foreign(value):
        if status in _FOREIGN_STATUSES and value["code"] == status:
            return None
        return f"TorchServe's own {status}: {str(value)[:200]}"
    if answer.media_type != _OUR_TYPE:
        return f"content type {answer.media_type[:80]!r}"
    found = list(errors(value))
    for error in found:
        code = error.get("code")
        if code not in STATUS_OF or not isinstance(error.get("message"), str):
            return f"an undocumented error: {str(error)[:200]}"
        if STATUS_OF[code] >= 500 and code != "explanations_unsupported":
            return f"an error that is ours: {code}"
    if status == 200 and is_error(value):
        return f"200 with {str(value)[:200]}"
    if status not in (None, 200):
        if found and STATUS_OF[found[0]["code"]] == status:
            return None
        return f"{status} with {str(value)[:200]}"
    is_shape = is_infer_answer if call.way == "infer" else is_answer
    return None if is_shape(value) else f"an undocumented shape: {str(value)[:200]}"


def name_of(answer: Answer) -> str:
    """What to count an answer as: the code of its first error where nothing succeeded, else good."""
    if answer.status is not None and is_foreign(answer.value):
        return f"TorchServe's own {answer.status}"
    found = list(errors(answer.value))
    if found and (answer.status != 200 if answer.status else is_error(answer.value)):
        return str(found[0]["code"])
    return "some texts refused" if found else "good"


def is_foreign(value: Any) -> bool:
    """Whether TorchServe itself answered."""
    return isinstance(value, dict) and set(value) == {"code", "type", "message"}


def is_error(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"error"}


def errors(value: Any) -> Iterator[dict[str, Any]]:
    """All error objects of an answer, in order."""
    if isinstance(value, list):
        for item in value:
            yield from errors(item)
    elif isinstance(value, dict):
        if isinstance(value.get("error"), dict):
            yield value["error"]
        elif isinstance(value.get("error"), list):  # of a gRPC answer, by output
            yield from filter(None, value["error"])
        elif isinstance(value.get("predictions"), list):
            yield from errors(value["predictions"])
        elif isinstance(value.get("outputs"), list):
            for output in value["outputs"]:
                if output["name"] == "error":
                    yield from (json.loads(element) for element in output["data"] if element)


def is_answer(value: Any) -> bool:
    """Whether it is an answer as documented, of whichever protocol."""
    if isinstance(value, list):
        return bool(value) and (
            all(is_error(item) or is_map(item) or is_details(item) for item in value)
            or all(is_error(item) or is_score(item) or is_scores(item) for item in value)
        )
    if isinstance(value, dict) and set(value) == {"predictions"}:
        predictions = value["predictions"]
        return isinstance(predictions, list) and bool(predictions) and is_answer(predictions)
    return (
        is_error(value)
        or is_map(value)
        or is_details(value)
        or is_explanation(value)
        or is_score(value)
        or is_tensors(value)
    )


def is_map(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(number, float) and 0 <= number <= 1 for number in value.values())
    )


_DETAILS = {
    "model", "version", "label", "probability", "probabilities", "logits", "tokens", "truncated",
    "calibrated", "entropy", "margin", "chunks",
}  # fmt: skip


def is_details(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == _DETAILS and is_map(value["probabilities"])


_EXPLANATION = {
    "model", "version", "label", "probability", "logit", "baseline_logit", "completeness_gap", "tokens",
    "truncated", "words",
}  # fmt: skip
_WORD = {"word", "start", "end", "attribution"}


def is_explanation(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == _EXPLANATION
        and isinstance(value["words"], list)
        and all(set(word) - {"of"} == _WORD for word in value["words"])
    )


def is_score(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"label", "score"}
        and isinstance(value["label"], str)
        and isinstance(value["score"], float)
    )


def is_scores(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_score, value))


def is_tensors(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) - {"id"} == {"model_name", "model_version", "parameters", "outputs"}
        and all(set(o) == {"name", "datatype", "shape", "data"} for o in value["outputs"])
    )


def is_infer_answer(value: dict[str, Any]) -> bool:
    """Whether the outputs of a gRPC answer are the documented ones."""
    return set(value) == {"error"} or set(value) - {"error"} == {
        "label", "probabilities", "labels",
    }  # fmt: skip

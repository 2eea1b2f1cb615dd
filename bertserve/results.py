"""What clients send and what they get, the same over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from typing_extensions import TypedDict

from .errors import TextError


@dataclass(frozen=True)
class Pair:
    """Two texts that are classified together, for a model that was trained on pairs."""

    text: str
    text_pair: str


Input = str | Pair


class Options(TypedDict, total=False):
    """How texts are read and answered.

    top_k        how many of the most probable labels to answer; all if not given
    max_length   tokens to read, special ones included; the longest that the model reads if not given
    truncate     False makes a text that is too long an error instead of cutting it
    details      True answers tokens, truncated, logits, model and version too
    """

    top_k: int | None
    max_length: int | None
    truncate: bool
    details: bool


@dataclass(frozen=True)
class Prediction:
    """One text's answer: label → probability, the most probable first.

    The others are None unless `details` were asked for: tokens that the model read, whether the text was
    cut, label → logit, and who answered.
    """

    probabilities: Mapping[str, float]
    logits: Mapping[str, float] | None = None
    tokens: int | None = None
    truncated: bool | None = None
    model: str | None = None
    version: str | None = None

    @property
    def label(self) -> str:
        """The most probable label."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """The probability of the most probable label."""
        return next(iter(self.probabilities.values()))


@dataclass(frozen=True)
class Worker:
    """A process that serves one version of a model; `status` is READY once it has loaded."""

    id: str
    pid: int
    status: str


@dataclass(frozen=True)
class Model:
    """One version of a served model.

    wanted      workers that it shall have
    pending     requests that wait for one
    queue       requests that may wait
    archive     name of its file in the model store
    """

    name: str
    version: str
    default: bool
    workers: tuple[Worker, ...]
    wanted: int
    pending: int = 0
    queue: int = 0
    archive: str = ""

    @property
    def ready(self) -> int:
        """How many workers are READY."""
        return sum(worker.status == "READY" for worker in self.workers)

    @property
    def state(self) -> str:
        """READY once all workers are."""
        return "READY" if self.ready >= self.wanted else "LOADING"


@dataclass(frozen=True)
class Description:
    """What a handler says of what it loaded; see `bertserve inspect` for the words.

    `forward` is how micro-batches are computed: `packed`, `padded`, or `unpadded` (docs/packaging.md).
    """

    model: str
    version: str
    architecture: str
    labels: tuple[str, ...]
    problem_type: str
    activation: str
    max_length: int
    max_texts: int
    precision: str
    device: str
    token_budget: int
    calibration: Mapping[str, Any]
    checksums: Mapping[str, str]
    forward: str | None = None


def to_wire(text: Input) -> dict[str, str]:
    """A text as the native protocol has it."""
    if isinstance(text, str):
        return {"text": text}
    return {"text": text.text, "text_pair": text.text_pair}


def from_wire(answer: Mapping[str, Any]) -> Prediction | TextError:
    """One text's answer in the native protocol, with details or without, or its error."""
    if is_error(answer):
        return TextError(**answer["error"])
    if isinstance(answer.get("probabilities"), Mapping):
        return Prediction(**{field.name: answer[field.name] for field in fields(Prediction)})
    return Prediction(answer)


def is_error(answer: object) -> bool:
    """Whether it is the wire's error object; a label may be called "error" too, with a number."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    return isinstance(error, Mapping) and all(
        isinstance(error.get(key), str) for key in ("code", "message")
    )


def read_description(described: Mapping[str, Any]) -> Description:
    """A handler's own words in a description; keys that are not known here are left out."""
    own = described["customizedMetadata"]
    known = {field.name: own[field.name] for field in fields(Description) if field.name in own}
    return Description(**{**known, "labels": tuple(known["labels"])})


def read_model(version: Mapping[str, Any], default: str) -> Model:
    """One version as TorchServe's management API describes it."""
    workers = (Worker(w["id"], w["pid"], w["status"]) for w in version["workers"])
    queue = version.get("jobQueueStatus") or {"pendingRequests": 0, "remainingCapacity": 0}
    return Model(
        name=version["modelName"],
        version=version["modelVersion"],
        default=version["modelVersion"] == default,
        workers=tuple(workers),
        wanted=version["minWorkers"],
        pending=queue["pendingRequests"],
        queue=queue["pendingRequests"] + queue["remainingCapacity"],
        archive=version.get("modelUrl") or "",
    )

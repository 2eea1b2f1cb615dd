"""What clients ask for and what they get, the same over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from typing_extensions import TypedDict

from ..errors import TextError
from ..inputs import Input


class Options(TypedDict, total=False):
    """How texts are read and answered.

    top_k        how many of the most probable labels to answer; all if not given
    max_length   tokens to read, special ones included; the longest that the model reads if not given
    long_text    what happens to a longer text: truncate, error or chunks; as packaged if not given
    truncate     False is the same as long_text="error"
    calibrated   False answers the model's own probabilities, without the archive's calibration
    details      True answers everything that a Prediction has
    """

    top_k: int | None
    max_length: int | None
    long_text: str | None
    truncate: bool
    calibrated: bool
    details: bool


class Limits(TypedDict, total=False):
    """How a text is read that is explained: `max_length` and `truncate` of `Options`."""

    max_length: int | None
    truncate: bool


@dataclass(frozen=True)
class Prediction:
    """One text's answer: label → probability, the most probable first.

    The others are None unless `details` were asked for, and those of decisions unless the archive makes
    them (docs/probabilities.md):

    logits         label → logit, as the model gives it
    tokens         that the model read, in `chunks` pieces; `truncated` where the text was cut
    calibrated     whether the archive's calibration was applied
    entropy        of the probabilities, as a share of the highest that it could be
    margin         from the most probable label to the next; how near another decision is
    decided        whether the most probable label reaches the archive's threshold
    labels         where labels are independent, those that reach their thresholds
    set            the prediction set, which holds the right label with probability `set_coverage`
    model, version who answered
    """

    probabilities: Mapping[str, float]
    logits: Mapping[str, float] | None = None
    tokens: int | None = None
    truncated: bool | None = None
    model: str | None = None
    version: str | None = None
    chunks: int | None = None
    calibrated: bool | None = None
    entropy: float | None = None
    margin: float | None = None
    decided: bool | None = None
    labels: tuple[str, ...] | None = None
    set: tuple[str, ...] | None = None
    set_coverage: float | None = None

    @property
    def label(self) -> str | None:
        """The most probable label that may be answered; None where none reaches its threshold."""
        if self.labels:
            return self.labels[0]
        return None if self.decided is False else next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """The probability of the label, or of the most probable one where none is answered."""
        first = next(iter(self.probabilities))
        return self.probabilities.get(self.label or first, self.probabilities[first])


@dataclass(frozen=True)
class Word:
    """A word, its characters from `start` to `end`, and what it adds to the logit of a label.

    `of` is `text`, or `text_pair` for a word of a pair's second text.
    """

    word: str
    start: int
    end: int
    attribution: float
    of: str = "text"


@dataclass(frozen=True)
class Explanation:
    """Which words carried a prediction, for one label.

    label, probability   the label that is explained, and its probability as the model serves it
    logit                of that label, and `baseline_logit` where all words are padding: the words'
                         attributions sum to the difference, but for `completeness_gap`
    tokens, truncated    how many the model read, and whether the text was cut
    words                in the order of the text
    model, version       who answered
    """

    label: str
    probability: float
    logit: float
    baseline_logit: float
    completeness_gap: float
    tokens: int
    truncated: bool
    words: tuple[Word, ...]
    model: str
    version: str

    @property
    def strongest(self) -> list[Word]:
        """The words, those that carry most first, whether for the label or against it."""
        return sorted(self.words, key=lambda word: -abs(word.attribution))


# what a worker may be beside what TorchServe calls it: its process has ended, or does not answer
READY, GONE, STUCK = "READY", "GONE", "STUCK"


@dataclass(frozen=True)
class Worker:
    """A process that serves one version of a model.

    `status` is READY once it has loaded, UNLOADING before; `bertserve status` also says GONE and STUCK.
    """

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
        return sum(worker.status == READY for worker in self.workers)

    @property
    def state(self) -> str:
        """READY once all workers are; DEGRADED while one is GONE or STUCK, else LOADING."""
        if any(worker.status in (GONE, STUCK) for worker in self.workers):
            return "DEGRADED"
        return READY if self.ready >= self.wanted else "LOADING"


@dataclass(frozen=True)
class Description:
    """What a handler says of what it loaded; see `bertserve inspect` for the words.

    `pairs` says that every text needs a second one.
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
    long_text: str = "truncate"
    aggregation: str = "mean"
    pairs: bool = False


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
        known: dict[str, Any] = {field.name: answer.get(field.name) for field in fields(Prediction)}
        for name in ("labels", "set"):
            known[name] = None if known[name] is None else tuple(known[name])
        return Prediction(**{**known, "decided": answer.get("label") is not None})
    return Prediction(answer)


def read_explanation(answer: Mapping[str, Any]) -> Explanation | TextError:
    """An explanation, or why there is none; keys that are not known here are left out."""
    if is_error(answer):
        return TextError(**answer["error"])
    found = {field.name: answer[field.name] for field in fields(Explanation)}
    words = tuple(
        Word(**{field.name: word[field.name] for field in fields(Word) if field.name in word})
        for word in answer["words"]
    )
    return Explanation(**{**found, "words": words})


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

"""Requests become answers: bytes with a status, none larger than TorchServe passes on to the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..errors import RequestError
from ..values import Prediction, Request
from .json_writer import to_json
from .open_inference import RefusedInfer
from .requests import Describe, Refused, refuse
from .rows import Row

Outcome = Prediction | RequestError
_TOGETHER = 2  # times the largest answer, so that one that just fits leaves room for usual ones


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request, and how it ended.

    `code` is `ok`, `partial` where some of its texts failed, or the first error's code; None where
    TorchServe asked for a description. `outcomes` are those of its texts.
    """

    status: int
    content: bytes
    code: str | None
    outcomes: Sequence[Outcome]


def write(
    rows: Sequence[Row],
    requests: Sequence[Request],
    predictions: Iterable[Outcome],
    description: Mapping[str, Any],
    largest: int,
) -> list[Answer]:
    """The answer of each request; `predictions` are those of `texts(requests)`, in order.

    `description` says what is loaded; answers repeat its `model`, `version` and `labels` where asked. An
    answer of more than `largest` bytes would end the worker, so it becomes an error. TorchServe reads the
    answers of a batch from the first one again at each piece that arrives, so that several large ones
    take it very long: where all together are too large, the largest are put off.
    """
    outcomes = iter(predictions)
    answers = []
    for row, request in zip(rows, requests, strict=True):
        own = list(islice(outcomes, len(request.texts)))
        answer = _answer(request, own, description)
        if len(answer.content) > largest:
            error = _too_large(len(answer.content), largest)
            answer = _instead(row, answer, error, description)
        answers.append(answer)
    together = sum(len(answer.content) for answer in answers)
    for index in sorted(range(len(answers)), key=lambda i: -len(answers[i].content)):
        if together <= _TOGETHER * largest:
            break
        shorter = _instead(rows[index], answers[index], _PUT_OFF, description)
        together -= len(answers[index].content) - len(shorter.content)
        answers[index] = shorter
    return answers


def _answer(request: Request, own: Sequence[Outcome], description: Mapping[str, Any]) -> Answer:
    status, value = request.answer(own, description)
    return Answer(status, to_json(value), _code(request, own), own)


def _code(request: Request, own: Sequence[Outcome]) -> str | None:
    if isinstance(request, Describe):
        return None
    if isinstance(request, Refused | RefusedInfer):
        return request.error.code
    errors = [outcome.code for outcome in own if isinstance(outcome, RequestError)]
    failed = len(errors) == len(own)
    return "ok" if not errors else errors[0] if failed else "partial"


def _instead(
    row: Row, answer: Answer, error: RequestError, description: Mapping[str, Any]
) -> Answer:
    """An error in place of an answer, and of each text that had one."""
    lost = [each if isinstance(each, RequestError) else error for each in answer.outcomes]
    code = error.code if answer.code else None
    return replace(_answer(refuse(row, error), (), description), code=code, outcomes=lost)


def _too_large(size: int, largest: int) -> RequestError:
    return RequestError(
        "answer_too_large",
        f"the answer has {size:,} bytes, and the server passes on {largest:,} at most "
        "(max_response_size of config.properties); send fewer texts at once, or ask for fewer labels "
        "with top_k",
        bytes=size,
        max_bytes=largest,
    )


_PUT_OFF = RequestError(
    "overloaded",
    "the answers to the requests that were computed together are larger than the server passes on at "
    "once; try again, or send fewer texts at once",
)

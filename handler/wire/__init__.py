"""Every body, whichever protocol, becomes a Request or an error of its own; every Request is answered
in the protocol it came in.

rows             how TorchServe hands rows over and takes answers back, with its traps
body, checks     what all protocols share: bytes to JSON, limits, the checks of values
native           the protocol of this project: text/plain, {"text"}, {"texts"}
explaining       its explanations: /explanations, or {"text", "explain": true}
huggingface      {"inputs": "…"}, Hugging Face Inference and SageMaker
kserve           {"instances": […]}, KServe v1
open_inference   {"inputs": [tensor, …]}, the Open Inference Protocol v2, REST and gRPC
encoding         answers as JSON bytes
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..errors import RequestError
from ..settings import Settings
from ..values import Prediction, Request, Text
from . import explaining, huggingface, kserve, native, open_inference
from .body import decode
from .checks import boolean
from .rows import Row, read_rows, send

logger = logging.getLogger(__name__)

_TENSOR_KEYS = {"name", "datatype", "shape", "data"}


@dataclass(frozen=True, slots=True)
class Describe:
    """TorchServe asks what is loaded, for `GET /models/NAME?customized=true`."""

    texts: tuple[()] = ()

    def answer(self, _: object, description: Mapping[str, Any]) -> tuple[int, Any]:
        """What is loaded."""
        return 200, description


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is wrong as a whole."""

    error: RequestError
    texts: tuple[()] = ()

    def answer(self, _: object, __: object) -> tuple[int, Any]:
        """Its error."""
        return self.error.status, self.error.as_json()


def read(rows: Iterable[Row], settings: Settings) -> list[Request]:
    """What each row asks for; a row that is wrong as a whole becomes a request without texts."""
    return [_read_one(row, settings) for row in rows]


def _read_one(row: Row, settings: Settings) -> Request:
    try:
        return Describe() if row.is_describe else _read_body(row, settings)
    except RequestError as error:
        found = error
    except Exception as error:  # ours to mend, but the neighbours in the batch must not pay for it
        logger.error("a request could not be read: %s", type(error).__name__)
        found = RequestError("internal_error", "the request could not be read; please report this")
    return open_inference.RefusedInfer(found) if row.is_open_inference else Refused(found)


def _read_body(row: Row, settings: Settings) -> Request:
    """The protocol of a body shows in its keys, whichever URL it was sent to but for `/explanations`."""
    value = decode(row.body(), settings.max_depth)
    if row.is_explanation:
        return explaining.read(value, settings)
    if row.is_open_inference or _holds_tensors(value):
        return open_inference.read(value, settings, is_grpc=row.is_open_inference)
    if isinstance(value, str):
        return native.read(value, settings)
    if "inputs" in value:
        is_sagemaker = row.is_invocation and not row.is_from_hugging_face
        return huggingface.read(value, settings, is_sagemaker=is_sagemaker)
    if "instances" in value:
        return kserve.read(value, settings)
    if boolean(value, "explain", default=False):
        return explaining.read(value, settings)
    return native.read(value, settings)


def _holds_tensors(value: str | dict[str, Any]) -> bool:
    inputs = value.get("inputs") if isinstance(value, dict) else None
    first = inputs[0] if isinstance(inputs, list) and inputs else None
    return isinstance(first, dict) and not _TENSOR_KEYS.isdisjoint(first)


def texts(requests: Iterable[Request]) -> list[Text | RequestError]:
    """The texts of all requests, one after the other."""
    return [text for request in requests for text in request.texts]


def write(
    requests: Iterable[Request],
    predictions: Iterable[Prediction | RequestError],
    description: Mapping[str, Any],
) -> list[tuple[int, Any]]:
    """Status and JSON value of each request; `predictions` are those of `texts(requests)`, in order.

    `description` says what is loaded; answers repeat its `model`, `version` and `labels` where asked.
    """
    outcomes = iter(predictions)
    return [
        request.answer(list(islice(outcomes, len(request.texts))), description)
        for request in requests
    ]


def codes(
    requests: Iterable[Request], predictions: Iterable[Prediction | RequestError]
) -> Iterator[str]:
    """How each request ended: `ok`, `partial` where some of its texts failed, or the first error's code.

    TorchServe's own requests for a description are left out.
    """
    outcomes = iter(predictions)
    for request in requests:
        own = list(islice(outcomes, len(request.texts)))
        errors = [outcome.code for outcome in own if isinstance(outcome, RequestError)]
        if isinstance(request, Refused | open_inference.RefusedInfer):
            yield request.error.code
        elif not isinstance(request, Describe):
            failed = len(errors) == len(own)
            yield "ok" if not errors else errors[0] if failed else "partial"


__all__ = ["Row", "codes", "read", "read_rows", "send", "texts", "write"]

"""Which protocol a body is of: it shows in its keys."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from ..errors import RequestError
from ..settings import Settings
from ..values import Request, Text
from . import explanations, huggingface, kserve, native, open_inference
from .body import decode
from .checks import boolean
from .requests import Describe, refuse
from .rows import Row

logger = logging.getLogger(__name__)

_TENSOR_KEYS = {"name", "datatype", "shape", "data"}


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
    return refuse(row, found)


def _read_body(row: Row, settings: Settings) -> Request:
    """The protocol of a body shows in its keys, whichever URL it was sent to but for `/explanations`."""
    value = decode(row.body(), settings.max_depth)
    if row.is_explanation:
        return explanations.read(value, settings)
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
        return explanations.read(value, settings)
    return native.read(value, settings)


def _holds_tensors(value: str | dict[str, Any]) -> bool:
    inputs = value.get("inputs") if isinstance(value, dict) else None
    first = inputs[0] if isinstance(inputs, list) and inputs else None
    return isinstance(first, dict) and not _TENSOR_KEYS.isdisjoint(first)


def texts(requests: Iterable[Request]) -> list[Text | RequestError]:
    """The texts of all requests, one after the other."""
    return [text for request in requests for text in request.texts]

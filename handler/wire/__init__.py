"""Every body, whichever protocol, becomes a Request or an error of its own; every Request is answered
in the protocol it came in.

rows      how TorchServe hands rows over and takes answers back, with its traps
native    the protocol of this project: text/plain, {"text"}, {"texts"}
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from ..errors import RequestError
from ..settings import Settings
from ..values import Describe, Prediction, Request, Text
from . import native
from .rows import Row, read_rows, send

logger = logging.getLogger(__name__)


def read(rows: Sequence[Row], settings: Settings) -> list[Request | Describe | RequestError]:
    """What each row asks for, or the error that it gets for an answer."""
    return [_read_one(row, settings) for row in rows]


def _read_one(row: Row, settings: Settings) -> Request | Describe | RequestError:
    try:
        return Describe() if row.is_describe else native.read(row.body(), settings)
    except RequestError as error:
        return error
    except Exception as error:  # ours to mend, but the neighbours in the batch must not pay for it
        logger.error("a request could not be read: %s", type(error).__name__)
        return RequestError("internal_error", "the request could not be read; please report this")


def texts(requests: Iterable[Request | Describe | RequestError]) -> list[Text | RequestError]:
    """The texts of all requests, one after the other."""
    return [text for request in requests if isinstance(request, Request) for text in request.texts]


def write(
    requests: Iterable[Request | Describe | RequestError],
    predictions: Iterable[Prediction | RequestError],
    description: dict[str, Any],
) -> list[tuple[int, Any]]:
    """Status and JSON value of each request; `predictions` are those of `texts(requests)`, in order.

    `description` says what is loaded; its `model` and `version` stand in answers that show details.
    """
    outcomes = iter(predictions)
    answers: list[tuple[int, Any]] = []
    for request in requests:
        if isinstance(request, RequestError):
            answers.append((request.status, request.as_json()))
        elif isinstance(request, Describe):
            answers.append((200, description))
        else:
            own = list(islice(outcomes, len(request.texts)))
            answers.append(native.write(request, own, description))
    return answers


__all__ = ["Row", "read", "read_rows", "send", "texts", "write"]

"""The errors of the handler, and the one place that maps their codes to HTTP statuses.

RequestError    one request, or one text of it, is wrong; its neighbours are not touched
LoadError       the archive cannot be served; the worker does not start
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

STATUS_OF = {
    "invalid_utf8": 400,
    "invalid_json": 400,
    "too_many_texts": 413,
    "text_too_long": 413,
    "answer_too_large": 413,
    "unsupported_media_type": 415,
    "too_deep": 422,
    "unknown_key": 422,
    "conflicting_keys": 422,
    "invalid_type": 422,
    "invalid_value": 422,
    "invalid_text": 422,
    "missing_text": 422,
    "empty_text": 422,
    "explanations_paused": 429,
    "internal_error": 500,
    "model_output_invalid": 500,
    "explanations_unsupported": 501,
    "overloaded": 503,
}
# codes that are not the caller's fault
SERIOUS = ("internal_error", "model_output_invalid", "overloaded")


class RequestError(Exception):
    """What is wrong with one request or one of its texts, and what to do about it.

    It is raised while a body is read, and carried as a value from there on, in the place of the text
    (or request) that it belongs to.
    """

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = fields

    @property
    def status(self) -> int:
        """HTTP status of the error, for protocols that carry one."""
        return STATUS_OF[self.code]

    def as_json(self) -> dict[str, Any]:
        """The one shape of every error: `{"error": {"code", "message", …fields}}`."""
        return {"error": {"code": self.code, "message": self.message, **self.fields}}

    def at(self, index: int) -> RequestError:
        """The same error, with the place of its text in the request."""
        return RequestError(self.code, self.message, **self.fields, index=index)


def overall_status(outcomes: Sequence[object]) -> int:
    """HTTP status of a request: 200 where any of its texts succeeded, else that of the first error."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, RequestError)]
    return errors[0].status if errors and len(errors) == len(outcomes) else 200


class LoadError(RuntimeError):
    """The archive cannot be served; the message says why in one sentence.

    A RuntimeError, because TorchServe reports those of a loading worker and merely dies of others.
    """


def past_errors(
    step: Callable[[list[Item]], Sequence[Result]], items: Sequence[Item | RequestError]
) -> list[Result | RequestError]:
    """Run `step` once over the items that are no errors; errors go past it, in their places."""
    good = [item for item in items if not isinstance(item, RequestError)]
    results = iter(step(good) if good else ())
    return [item if isinstance(item, RequestError) else next(results) for item in items]

"""The status of what is wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bertserve.console.replies import on_problem
from bertserve.errors import (
    ClientError,
    ConfigError,
    ModelNotFound,
    NotRunning,
    ServerError,
    TextError,
    Unavailable,
)

ANY: Any = None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotRunning("no server"), 503),
        (Unavailable("no answer"), 503),
        (ModelNotFound("no such model"), 404),
        (TextError("empty_text", "the text is empty"), 422),
        (ConfigError("no object"), 422),
        (ServerError("no rollout is known"), 409),
        (ClientError("an answer that is none"), 502),
        (OSError(28, "No space left on device"), 500),
    ],
)
def test_statuses(error: Exception, status: int) -> None:
    assert asyncio.run(on_problem(ANY, error)).status_code == status

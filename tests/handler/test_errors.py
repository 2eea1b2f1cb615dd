from __future__ import annotations

from handler.errors import RequestError, past_errors


def test_past_errors_runs_the_step_once_over_what_is_good() -> None:
    error = RequestError("empty_text", "empty")
    calls: list[list[int]] = []

    def double(items: list[int]) -> list[int]:
        calls.append(items)
        return [2 * item for item in items]

    items: list[int | RequestError] = [1, error, 3]
    assert past_errors(double, items) == [2, error, 6]
    assert calls == [[1, 3]]

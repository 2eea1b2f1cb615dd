"""What the last hour's counts say, and what is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from bertserve.versions.traffic import HOUR, Traffic


class Counts:
    """Metrics of one version that has answered so many requests, of two texts each."""

    def __init__(
        self, requests: int, failed: int = 0, labels: dict[str, int] | None = None
    ) -> None:
        texts = 2.0 * requests
        self._by: dict[str, dict[str, float]] = {
            "bertserve_requests_total": {"ok": float(requests), "empty_text": float(failed)},
            "bertserve_labels_total": {
                k: float(v) for k, v in (labels or {"a": int(texts)}).items()
            },
            "bertserve_confidence_bucket": {
                "0.5": 0.0,
                "0.9": texts / 2,
                "1.0": texts,
                "+Inf": texts,
            },
        }
        self._totals = {
            "bertserve_texts_total": texts,
            "bertserve_batches_total": requests / 2,
            "bertserve_confidence_sum": 0.8 * texts,
            "ts_inference_latency_microseconds": 5_000.0 * requests,
            "ts_inference_requests_total": float(requests),
        }

    def by(self, label: str, name: str, **_: str) -> dict[str, float]:
        return (
            {"m": 1.0} if label == "model" else {"1": 1.0} if label == "version" else self._by[name]
        )

    def total(self, name: str, **_: str) -> float:
        return self._totals[name]


def traffic(*moments: tuple[float, Any]) -> Traffic:
    found = Traffic()
    for at, counts in moments:
        found.add(counts, at)
    return found


def test_rates_of_a_minute_and_of_an_hour() -> None:
    (told,) = traffic((0, Counts(100)), (60, Counts(160)), (120, Counts(400, failed=60))).told()
    assert (told.name, told.version) == ("m", "1")
    assert told.minute.requests == 300 / 60
    assert told.minute.failed == 60 / 300
    assert told.minute.codes == {"empty_text": 60}
    assert told.minute.latency == pytest.approx(5)
    assert told.minute.batch == pytest.approx(4)
    assert told.minute.confidence == pytest.approx(0.8)
    assert told.minute.median == pytest.approx(0.9)
    assert told.hour.requests == 360 / 120
    assert [each.requests for each in told.curve] == [1, 5]
    assert told.minute.labels == {"a": 1}


def test_of_one_moment_nothing_can_be_said() -> None:
    (told,) = traffic((0, Counts(100))).told()
    assert (told.minute.requests, told.minute.latency, told.minute.median) == (0, None, None)
    assert told.curve == []
    assert Traffic().told() == []


def test_a_server_that_began_again_begins_again_here() -> None:
    (told,) = traffic((0, Counts(100)), (60, Counts(5)), (120, Counts(65))).told()
    assert told.hour.requests == 1


def test_an_hour_is_kept_and_no_more() -> None:
    found = Traffic()
    for second in range(0, 3 * int(HOUR), 2):
        found.add(Counts(second), second)  # type: ignore[arg-type]
    (told,) = found.told()
    assert told.hour.seconds == pytest.approx(HOUR, abs=20)
    assert told.hour.requests == pytest.approx(1)
    assert len(told.curve) == 60
    assert len(found._moments) < 400

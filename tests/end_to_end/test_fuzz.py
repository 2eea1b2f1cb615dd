"""Random calls to a real server, as `scripts/fuzz` sends fifty thousand of them."""

from __future__ import annotations

import random
from typing import Any

import pytest

import bodies
import fuzzing
from fuzzing import Answer
from serving import Served

CALLS = 3_000
SEED = 20
# a young worker grows until it has seen batches of all sizes; `scripts/fuzz` lasts longer and allows less
MOST_GROWTH = 150_000_000


def test_no_random_call_harms_the_server(served: Served, record_testsuite_property: Any) -> None:
    report = fuzzing.fuzz(served.server, "tiny", CALLS, SEED)
    assert report.offence is None, str(report.offence)
    assert report.workers_stayed
    assert report.growth < MOST_GROWTH
    assert sum(report.answers.values()) == CALLS
    assert report.answers["good"] > CALLS // 5  # else it tries nothing but errors
    assert len(report.answers) > 10
    record_testsuite_property("fuzz_answers", dict(report.answers))
    record_testsuite_property("fuzz_worker_growth_bytes", report.growth)


def test_a_call_depends_on_its_number_alone() -> None:
    assert fuzzing.call_of(7, 5) == fuzzing.call_of(7, 5)
    assert fuzzing.call_of(7, 5) != fuzzing.call_of(8, 5)
    ways = {bodies.make(random.Random(seed)).way for seed in range(200)}
    assert ways == set(bodies.WAYS)


GOOD = {"positive": 0.75, "negative": 0.25}
ERROR = {"error": {"code": "empty_text", "message": "the text is empty"}}
SCORE = {"label": "positive", "score": 0.75}
TENSORS = {"model_name": "m", "model_version": "1", "parameters": {}, "outputs": []}
OWN = {"code": 404, "type": "ModelNotFoundException", "message": "Model not found: m"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(GOOD, 200),
        Answer([GOOD, ERROR], 200),
        Answer([SCORE, ERROR], 200),
        Answer([[SCORE], [SCORE]], 200),
        Answer({"predictions": [GOOD, ERROR]}, 200),
        Answer({"predictions": [ERROR]}, 422),
        Answer(TENSORS, 200),
        Answer(ERROR, 422),
        Answer(ERROR),
        Answer(OWN, 404, ""),
    ],
)
def test_a_documented_answer_is_no_complaint(answer: Answer) -> None:
    assert fuzzing.complaint(bodies.Call("predictions", b""), answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(ERROR, 200, "text/plain"),
        Answer(GOOD, 204),
        Answer(ERROR, 400),
        Answer(ERROR, 200),
        Answer({"positive": 1.5}, 200),
        Answer({"positive": None}, 200),
        Answer([], 200),
        Answer(None, 200),
        Answer({"error": {"code": "else", "message": ""}}, 422),
        Answer({"error": {"code": "internal_error", "message": ""}}, 500),
        Answer([GOOD, {"error": {"code": "internal_error", "message": ""}}], 200),
        Answer({**OWN, "code": 500}, 500),
        Answer({**OWN, "code": 503}, 503),
        Answer({**TENSORS, "outputs": [{"name": "label"}]}, 200),
    ],
)
def test_any_other_answer_is_a_complaint(answer: Answer) -> None:
    assert fuzzing.complaint(bodies.Call("predictions", b""), answer) is not None

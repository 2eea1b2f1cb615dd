"""Answers that TorchServe would not pass on become errors, in the protocol of their request."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fakes
from handler import torchserve
from handler.torchserve import largest_answer

TEXTS = json.dumps(["good film"] * 20)
SMALL = fakes.rest(b'{"text": "good film"}')
# 20 texts in every protocol, with the place of the error in its answer
LARGE = {
    "native": fakes.rest(f'{{"texts": {TEXTS}}}'.encode()),
    "details": fakes.rest(f'{{"texts": {TEXTS}, "details": true}}'.encode()),
    "gRPC": fakes.grpc(f'{{"texts": {TEXTS}}}'.encode()),
    "Hugging Face": fakes.rest(f'{{"inputs": {TEXTS}, "parameters": {{"top_k": null}}}}'.encode()),
    "SageMaker": fakes.invocation(f'{{"inputs": {TEXTS}}}'.encode()),
    "KServe": fakes.v1_or_v2(f'{{"instances": {TEXTS}}}'.encode()),
    "Open Inference": fakes.v1_or_v2(
        json.dumps(
            {
                "inputs": [
                    {
                        "name": "text",
                        "datatype": "BYTES",
                        "shape": [20],
                        "data": ["good film"] * 20,
                    }
                ]
            }
        ).encode()
    ),
    "Open Inference over gRPC": fakes.open_inference([b"good film"] * 20),
    "an explanation": fakes.rest(f'"{"good film " * 8}"'.encode(), "text/plain", explain="True"),
}


@pytest.fixture
def limited(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A handler whose front end passes on answers of 800 bytes."""
    monkeypatch.setattr(loaded[0], "largest_answer", 800)
    return loaded


def error_of(value: Any) -> Any:
    return value["outputs"][0]["data"][0] if "outputs" in value else value["error"]


@pytest.mark.parametrize("protocol", LARGE)
def test_an_answer_that_is_too_large_is_an_error_of_its_request_alone(
    limited: Any, protocol: str
) -> None:
    before, (status, value), after = fakes.answer(limited, [SMALL, LARGE[protocol], SMALL])
    assert status == 413
    error = error_of(value)
    assert error["code"] == "answer_too_large"
    assert error["bytes"] > error["max_bytes"] == 800
    assert "800" in error["message"]
    assert "fewer texts" in error["message"]
    assert before == after == fakes.answer(limited, [SMALL])[0]
    assert before[0] == 200


def test_an_answer_that_just_fits_is_sent(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    handler, context = loaded
    (sent,) = handler.handle(fakes.receive(context, [LARGE["native"]]), context)
    monkeypatch.setattr(handler, "largest_answer", len(sent))
    assert fakes.answer(loaded, [LARGE["native"]])[0][0] == 200
    monkeypatch.setattr(handler, "largest_answer", len(sent) - 1)
    assert fakes.answer(loaded, [LARGE["native"]])[0][0] == 413


def test_large_answers_of_one_batch_are_put_off_but_no_small_one_is(
    loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, context = loaded
    (sent,) = handler.handle(fakes.receive(context, [LARGE["native"]]), context)
    monkeypatch.setattr(handler, "largest_answer", len(sent) + 500)
    rows = [SMALL, *[LARGE["native"]] * 4, SMALL]
    answers = fakes.answer(loaded, rows)
    assert [answers[i][0] for i in (0, -1)] == [200, 200]
    assert Counter(status for status, _ in answers) == {200: 4, 503: 2}
    for status, value in answers:
        assert status == 200 or error_of(value)["code"] == "overloaded"


def test_what_is_not_sent_counts_as_an_error(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Any] = []
    monkeypatch.setattr(
        limited[0].metrics, "count", lambda codes, outcomes: counted.append((codes, outcomes))
    )
    fakes.answer(limited, [SMALL, LARGE["native"], fakes.describe()])
    ((codes, outcomes),) = counted
    assert codes == ["ok", "answer_too_large"]
    assert Counter(getattr(each, "code", "ok") for each in outcomes) == {
        "ok": 1,
        "answer_too_large": 20,
    }


def test_the_limit_is_that_of_the_front_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process tree as /proc shows it: launcher, then Java, whose file is named from its folder."""
    monkeypatch.setattr(torchserve, "_PROCESSES", tmp_path)
    monkeypatch.setattr("os.getppid", lambda: 30)
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "own.properties").write_text("x=1\nmax_response_size=70000\n")
    java = ["java", "-cp", ".", "org.pytorch.serve.ModelServer", "-f", "own.properties", ""]
    for pid, parent, command in ((30, 20, ["launcher"]), (20, 1, java)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_text("\0".join(command))
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} 1 1")
        (tmp_path / str(pid) / "cwd").symlink_to(tmp_path / "a b")
    assert largest_answer() == 70_000


def test_without_a_front_end_it_is_torchserve_s_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchserve, "_PROCESSES", tmp_path)
    assert largest_answer() == 6_553_500

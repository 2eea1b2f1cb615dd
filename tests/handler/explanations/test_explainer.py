"""Explanations beside predictions: who gets one, what it costs the others, what goes wrong."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from handler.engine.classifier import Classifier
from handler.errors import RequestError
from handler.explanations import explainer as explanations
from handler.explanations.explainer import Explainer, Share
from handler.explanations.gradients import Gradients, NotOfTheModel, TooLate
from handler.pipeline import Pipeline
from handler.settings import Settings
from handler.values import Explain, Explanation, Prediction, Text

CPU = torch.device("cpu")
ASKED = Text(tiny.TEXTS[1], explain=Explain())


@pytest.fixture(scope="module")
def served(model_dir: Path) -> Pipeline:
    pipeline = Pipeline(model_dir, Settings(precision="float32", token_budget=64), CPU)
    pipeline.explainer.share.advance = math.inf
    return pipeline


@pytest.fixture
def fresh(served: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """One that has explained nothing yet."""
    monkeypatch.setattr(served.explainer, "share", Share(math.inf))
    monkeypatch.setattr(served.explainer, "_gradients", None)
    return served


def explained(result: Prediction | RequestError) -> Explanation:
    assert isinstance(result, Prediction), result
    assert result.explanation is not None
    return result.explanation


def refused(result: Prediction | RequestError) -> RequestError:
    assert isinstance(result, RequestError)
    return result


def test_the_words_carry_the_logit_of_the_predicted_label(served: Pipeline) -> None:
    (result,) = served([ASKED])
    found = explained(result)
    assert isinstance(result, Prediction)
    assert found.label == next(iter(result.probabilities))
    logit = result.logits[served.labels.index(found.label)]
    assert found.logit == pytest.approx(logit, abs=1e-4)
    assert " ".join(word.word for word in found.words) == (
        "The service was slow , but the food was great !"
    )
    change = found.logit - found.baseline_logit
    total = sum(word.attribution for word in found.words)
    assert abs(total - change) == pytest.approx(found.completeness_gap, abs=1e-6)
    assert found.completeness_gap <= max(0.01, 0.02 * abs(change))


def test_a_label_of_choice(served: Pipeline) -> None:
    results = served([replace(ASKED, explain=Explain(label)) for label in tiny.LABELS])
    for number, (label, result) in enumerate(zip(tiny.LABELS, results, strict=True)):
        assert isinstance(result, Prediction)
        assert explained(result).label == label
        assert explained(result).logit == pytest.approx(result.logits[number], abs=1e-4)
    assert len({explained(result).words for result in results}) == 3


def test_an_unknown_label_is_told_which_there_are(served: Pipeline) -> None:
    error = refused(served([replace(ASKED, explain=Explain("x"))])[0])
    assert (error.code, error.status) == ("invalid_value", 422)
    assert '"positive", "negative", "neutral"' in error.message


def test_many_labels_are_not_all_named() -> None:
    error = explanations._unknown_label([f"label{number}" for number in range(9)])
    assert error.message.endswith(
        'it has "label0", "label1", "label2", "label3", "label4" and 4 more'
    )


def test_the_probability_is_the_served_model_s(model_dir: Path) -> None:
    """An explanation is of a copy in float32; what it stands beside is what a prediction answers."""
    pipeline = Pipeline(model_dir, Settings(precision="bfloat16", token_budget=64), CPU)
    plain, asked = pipeline([replace(ASKED, explain=None), ASKED])
    assert isinstance(asked, Prediction)
    assert isinstance(plain, Prediction)
    assert asked.probabilities == pytest.approx(plain.probabilities, abs=1e-5)
    assert explained(asked).completeness_gap <= 0.05


def test_rows_of_a_batch_get_what_they_get_alone(served: Pipeline) -> None:
    error = RequestError("empty_text", "empty")
    batch: list[Text | RequestError] = [
        Text("awful"),
        ASKED,
        error,
        Text("good " * 99, long_text="error", explain=Explain()),
        Text("good " * 99, long_text="truncate", explain=Explain("neutral")),
        replace(ASKED, explain=Explain("x")),
        Text(tiny.TEXTS[2]),
        Text("good", "film", explain=Explain()),
    ]
    together = served(batch)
    alone = [served([text])[0] for text in batch]
    for one, other in zip(together, alone, strict=True):
        if isinstance(other, RequestError):
            assert refused(one).as_json() == other.as_json()
            continue
        assert isinstance(one, Prediction)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert one.truncated == other.truncated
        assert one.explanation == other.explanation
    kinds = [isinstance(one, Prediction) and one.explanation is not None for one in together]
    assert kinds == [False, True, False, False, True, False, False, True]
    assert [r.code for r in together if isinstance(r, RequestError)] == [
        "empty_text", "text_too_long", "invalid_value",
    ]  # fmt: skip


def test_predictions_come_first(served: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def note(kind: type, name: str) -> None:
        method: Callable[..., Any] = vars(kind)["__call__"]

        def noted(*given: Any) -> Any:
            order.append(name)
            return method(*given)

        monkeypatch.setattr(kind, "__call__", noted)

    note(Classifier, "predict")
    note(Explainer, "explain")
    served([ASKED, Text("awful"), ASKED])
    assert order == ["predict", "explain", "explain"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (RuntimeError("s3cret"), "internal_error"),
        (TooLate(), "text_too_long"),
        (NotOfTheModel(), "explanations_unsupported"),
        (torch.OutOfMemoryError("s3cret"), "overloaded"),
    ],
)
def test_an_explanation_that_fails_leaves_its_neighbours_alone(
    served: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    code: str,
) -> None:
    expected = explained(served([ASKED])[0])
    compute: Callable[..., Any] = Gradients.__call__

    def fail_on_few_tokens(self: Gradients, encoding: Any, *others: Any) -> Any:
        if len(encoding.input_ids) < 5:
            raise failure
        return compute(self, encoding, *others)

    monkeypatch.setattr(Gradients, "__call__", fail_on_few_tokens)
    first, broken, plain, last = served(
        [ASKED, Text("awful", explain=Explain()), Text("awful"), ASKED]
    )
    assert refused(broken).code == code
    assert explained(first) == explained(last) == expected
    assert isinstance(plain, Prediction)
    assert "s3cret" not in caplog.text + refused(broken).message


@pytest.mark.parametrize("failure", [MemoryError, torch.AcceleratorError])
def test_what_is_no_text_s_fault_reaches_torchserve(
    served: Pipeline, monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise failure("out of order")

    monkeypatch.setattr(Gradients, "__call__", fail)
    with pytest.raises(failure):
        served([ASKED])


def test_what_takes_too_long_says_what_to_do(
    served: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.explainer, "time_limit", -1.0)
    error = refused(served([ASKED])[0])
    assert (error.code, error.status, error.fields) == ("text_too_long", 413, {"tokens": 13})
    assert 'shorten it, or send a smaller "max_length"' in error.message


def test_a_worker_that_must_answer_soon_explains_for_less_long(model_dir: Path) -> None:
    settings = Settings(precision="float32", token_budget=64)
    assert Pipeline(model_dir, settings, CPU, time_limit=1.25).explainer.time_limit == 1.25
    assert Pipeline(model_dir, settings, CPU).explainer.time_limit == 5.0


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_half_of_the_time_is_left_for_predictions() -> None:
    clock = Clock()
    share = Share(advance=0.0, clock=clock)
    assert share.wait() == 0
    with share.taken():
        clock.now += 3
    assert share.wait() == 3
    clock.now += 2
    assert share.wait() == 1
    clock.now += 1
    assert share.wait() == 0
    with share.taken():
        clock.now += 2
    assert share.wait() == 2


def test_short_explanations_may_follow_each_other_for_a_moment() -> None:
    clock = Clock()
    share = Share(advance=1.0, clock=clock)
    taken = 0
    while not share.wait():
        with share.taken():
            clock.now += 0.25
        taken += 1
    assert taken == 5
    assert share.wait() == 0.25
    busy = 0.0
    start = clock.now
    while clock.now < start + 100:
        if share.wait():
            clock.now += 0.125
            continue
        with share.taken():
            clock.now += 0.25
        busy += 0.25
    assert busy == pytest.approx(50, abs=1)


def test_time_counts_where_an_explanation_fails() -> None:
    clock = Clock()
    share = Share(advance=0.0, clock=clock)

    def fail() -> None:
        with share.taken():
            clock.now += 5
            raise TooLate

    with pytest.raises(TooLate):
        fail()
    assert share.wait() == 5


def test_who_comes_in_the_pause_is_to_try_again(
    served: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(served.explainer, "share", Share(0.0, clock))
    with served.explainer.share.taken():
        clock.now += 2
    plain, late, unknown = served([Text("awful"), ASKED, replace(ASKED, explain=Explain("x"))])
    assert isinstance(plain, Prediction)
    assert (refused(late).code, refused(late).status) == ("explanations_paused", 429)
    assert "try again in 2.0 s" in refused(late).message
    assert refused(unknown).code == "invalid_value"
    clock.now += 2
    assert explained(served([ASKED])[0])


def test_without_captum_predictions_go_on_and_the_error_says_what_is_missing(
    fresh: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    plain, asked = fresh([Text("awful"), ASKED])
    assert isinstance(plain, Prediction)
    error = refused(asked)
    assert (error.code, error.status) == ("explanations_unsupported", 501)
    assert "pip install 'bertserve[explain]'" in error.message


def test_nothing_is_loaded_before_it_is_asked_for(
    fresh: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []

    def load(*given: Any) -> Gradients:
        loads.append(given)
        return Gradients(*given)

    monkeypatch.setattr(explanations, "Gradients", load)
    fresh([Text("awful"), replace(ASKED, explain=Explain("x"))])
    assert loads == []
    fresh([ASKED, ASKED])
    fresh([ASKED])
    assert len(loads) == 1


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError("s3cret"), RuntimeError("s3cret")])
def test_what_cannot_be_loaded_is_not_loaded_again_and_again(
    fresh: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    loads: list[object] = []

    def load(*given: Any) -> Gradients:
        loads.append(given)
        raise failure

    monkeypatch.setattr(explanations, "Gradients", load)
    for result in fresh([ASKED, ASKED]):
        assert refused(result).code == "explanations_unsupported"
        assert "s3cret" not in caplog.text + refused(result).message
    assert len(loads) == 1


def test_explanations_are_timed(served: Pipeline) -> None:
    served.metrics.take()
    served([Text("awful")])
    assert ("step_seconds_total", ("explain",)) not in served.metrics.take()
    served([ASKED])
    assert served.metrics.take()["step_seconds_total", ("explain",)] > 0

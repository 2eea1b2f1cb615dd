import json
from typing import Any

import pytest

import fakes
import tiny
from handler.errors import RequestError
from handler.settings import Settings
from handler.values import Decision, Explain, Explanation, Prediction, Text, Word
from handler.wire import explanations as explaining
from handler.wire import read
from handler.wire.explanations import ExplainRequest
from handler.wire.rows import Row

SETTINGS = Settings()
DESCRIPTION = {"model": "support", "version": "1.0"}
PREDICTION = Prediction(
    probabilities={"a": 0.75, "b": 0.25},
    logits=[3.0, 2.0],
    tokens=5,
    truncated=True,
    confidence=0.75,
    entropy=0.73,
    decision=Decision("a", 0.5),
    explanation=Explanation(
        "b", 2.0, -1.0, 0.125, (Word("Hi", 0, 2, 3.5, "text"), Word("ho", 1, 3, -0.5, "text_pair"))
    ),
)


def asked(row: Any) -> Any:
    (request,) = read([Row(*row)], SETTINGS)
    return request


def at_explanations(value: Any) -> Any:
    return asked(fakes.rest(json.dumps(value).encode(), explain="True"))


def at_predictions(value: Any) -> Any:
    return asked(fakes.rest(json.dumps(value).encode()))


def over_grpc(value: Any) -> Any:
    return asked(fakes.grpc(json.dumps(value).encode()))


BODY = {"text": "a", "text_pair": "b", "label": "x", "max_length": 9, "truncate": False}


def test_the_text_itself() -> None:
    expected = ExplainRequest((Text("a", long_text="truncate", explain=Explain()),))
    assert asked(fakes.rest(b"a", "text/plain", explain="True")) == expected


def test_every_way_asks_for_the_same() -> None:
    expected = ExplainRequest((Text("a", "b", 9, "error", explain=Explain("x")),))
    assert at_explanations(BODY) == expected
    for way in (at_explanations, at_predictions, over_grpc):
        assert way({**BODY, "explain": True}) == expected


def test_null_is_the_same_as_leaving_it_out() -> None:
    expected = ExplainRequest((Text("a", long_text="truncate", explain=Explain()),))
    nothing = dict.fromkeys(["text_pair", "label", "max_length", "truncate"])
    assert at_explanations({"text": "a", **nothing, "explain": None}) == expected
    assert at_predictions({"text": "a", **nothing, "explain": True}) == expected


def test_a_prediction_may_say_that_it_is_none() -> None:
    for value in (False, None):
        assert at_predictions({"text": "a", "explain": value}) == at_predictions({"text": "a"})
        several = at_predictions({"texts": ["a", "b"], "explain": value})
        assert several == at_predictions({"texts": ["a", "b"]})


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"texts": ["a"]}, "unknown_key", 'of one text, and the body holds "texts"'),
        ({"text": "a", "texts": ["a"]}, "unknown_key", "of one text"),
        ({"inputs": "a"}, "unknown_key", 'holds "inputs"'),
        ({"instances": ["a"]}, "unknown_key", 'holds "instances"'),
        ({"text": "a", "top_k": 1}, "unknown_key", "unknown key 'top_k' of an explanation"),
        ({"text": "a", "explain": False}, "conflicting_keys", "send the text to /predictions"),
        ({"text": "a", "explain": 1}, "invalid_type", '"explain" is a number'),
        ({"text": "a", "label": 7}, "invalid_type", '"label" is a number'),
        ({"text": "a", "label": "\ud800"}, "invalid_value", "whole characters"),
        ({"text": " "}, "empty_text", '"text" is empty'),
        ({"label": "x"}, "missing_text", 'there is no "text"'),
    ],
)
def test_what_cannot_be_explained(body: Any, code: str, message: str) -> None:
    error = at_explanations(body).error
    assert error.code == code
    assert message in error.message


@pytest.mark.parametrize("read_body", [at_predictions, over_grpc])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"texts": ["a"], "explain": True}, "unknown_key"),
        ({"inputs": "a", "explain": True}, "unknown_key"),
        ({"instances": ["a"], "explain": True}, "unknown_key"),
        ({"text": "a", "explain": True, "details": True}, "unknown_key"),
        ({"text": "a", "explain": "yes"}, "invalid_type"),
        ({"text": "a", "label": "x"}, "unknown_key"),
    ],
)
def test_what_explain_does_not_go_with(read_body: Any, body: Any, code: str) -> None:
    assert read_body(body).error.code == code


def test_an_instance_cannot_be_explained() -> None:
    request = at_predictions({"instances": [{"text": "a", "explain": True}, "b"]})
    assert [isinstance(text, RequestError) for text in request.texts] == [True, False]


def test_the_answer() -> None:
    request = explaining.read("Hi", SETTINGS)
    assert request.answer([PREDICTION], DESCRIPTION) == (
        200,
        {
            "model": "support",
            "version": "1.0",
            "label": "b",
            "probability": 0.25,
            "logit": 2.0,
            "baseline_logit": -1.0,
            "completeness_gap": 0.125,
            "tokens": 5,
            "truncated": True,
            "words": [
                {"word": "Hi", "start": 0, "end": 2, "attribution": 3.5},
                {"word": "ho", "start": 1, "end": 3, "attribution": -0.5},
            ],
        },
    )


def test_words_of_a_pair_say_which_text_they_are_of() -> None:
    request = explaining.read({"text": "Hi", "text_pair": "oho"}, SETTINGS)
    _, answer = request.answer([PREDICTION], DESCRIPTION)
    assert [word["of"] for word in answer["words"]] == ["text", "text_pair"]


def test_an_error_is_the_whole_answer() -> None:
    error = RequestError("text_too_long", "long", tokens=7)
    request = explaining.read("Hi", SETTINGS)
    assert request.answer([error], DESCRIPTION) == (413, error.as_json())


def test_a_batch_of_predictions_and_explanations(loaded: Any) -> None:
    body = b'{"text": "good film", "explain": true, "label": "neutral"}'
    plain, first, second, third, unknown, describe = fakes.answer(
        loaded,
        [
            fakes.rest(b'{"text": "good film", "details": true}'),
            fakes.rest(b"good film", "text/plain", explain="True"),
            fakes.rest(body),
            fakes.grpc(body),
            fakes.rest(b'{"text": "good film", "label": "x"}', explain="True"),
            fakes.rest(b'{"text": "film"}'),
        ],
    )
    assert [plain[0], describe[0], first[0], second[0], third[0]] == [200] * 5
    assert unknown[0] == 422
    predicted = plain[1]
    for value, label in ((first[1], predicted["label"]), (second[1], "neutral")):
        assert (value["model"], value["version"], value["label"]) == ("tiny", "1.0", label)
        assert value["probability"] == pytest.approx(predicted["probabilities"][label], abs=1e-6)
        assert value["logit"] == pytest.approx(predicted["logits"][label], abs=1e-4)
        assert [word["word"] for word in value["words"]] == ["good", "film"]
        total = sum(word["attribution"] for word in value["words"])
        change = value["logit"] - value["baseline_logit"]
        assert abs(total - change) == pytest.approx(value["completeness_gap"], abs=1e-6)
    assert third[1] == fakes.near(second[1])
    assert set(predicted["probabilities"]) == set(tiny.LABELS)

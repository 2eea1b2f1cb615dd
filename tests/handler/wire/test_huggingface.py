import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import fakes
import tiny

PAIR = {"text": "good film", "text_pair": "awful story"}
INPUTS: list[Any] = [
    "good film",
    PAIR,
    list(tiny.TEXTS),
    ["good film"],
    [PAIR, PAIR],
    [{"text": "a"}],
]
PARAMETERS: list[dict[str, Any]] = [
    {},
    {"top_k": 1},
    {"top_k": 2},
    {"top_k": 99},
    {"top_k": None},
    {"function_to_apply": "softmax"},
    {"function_to_apply": "sigmoid", "top_k": None},
    {"function_to_apply": "none", "top_k": None},
    {"truncation": True, "max_length": 8, "top_k": None},
]


@pytest.fixture(scope="module")
def pipe(model_dir: Path) -> Any:
    """What the answers are compared with: transformers' own pipeline."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it deprecates within itself
        from transformers import pipeline

        return pipeline("text-classification", model=str(model_dir), device="cpu")


def post(loaded: Any, inputs: Any, url: Any = fakes.invocation, **more: Any) -> tuple[int, Any]:
    body = json.dumps({"inputs": inputs, **more}).encode()
    (answered,) = fakes.answer(loaded, [url(body)])
    return answered


def code(answered: tuple[int, Any]) -> tuple[int, str]:
    status, value = answered
    return status, value["error"]["code"]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize("inputs", INPUTS, ids=lambda inputs: type(inputs).__name__)
def test_answers_are_those_of_the_pipeline(
    loaded: Any, pipe: Any, inputs: Any, parameters: dict[str, Any]
) -> None:
    # the pipeline fails on a text that is too long unless it is told to cut, as ours does by itself
    expected = pipe(inputs, **{"truncation": True, **parameters})
    status, value = post(loaded, inputs, parameters=parameters)
    assert (status, value) == (200, fakes.near(expected))


@pytest.mark.parametrize(
    "url", [fakes.rest, fakes.v1_or_v2, fakes.grpc], ids=lambda url: url.__name__
)
@pytest.mark.parametrize("inputs", [PAIR, list(tiny.TEXTS)], ids=["pair", "list"])
def test_other_urls_answer_the_same_unless_it_is_one_text(
    loaded: Any, url: Any, inputs: Any
) -> None:
    assert post(loaded, inputs, url, parameters={}) == post(loaded, inputs, parameters={})
    assert post(loaded, "a", url) == post(loaded, "a")


@pytest.mark.parametrize("parameters", [{}, {"top_k": 2}, {"function_to_apply": "sigmoid"}])
def test_hugging_face_s_own_client_gets_the_list_of_lists_that_it_takes_apart(
    loaded: Any, pipe: Any, parameters: dict[str, Any]
) -> None:
    expected = pipe("good film", **{"top_k": None, **parameters})
    status, value = post(loaded, "good film", fakes.rest, parameters=parameters)
    assert (status, value) == (200, [fakes.near(expected)])


def test_truncation_false_makes_a_text_that_is_too_long_an_error(loaded: Any) -> None:
    long = "good " * 200
    assert post(loaded, long)[0] == 200
    refused = post(loaded, long, parameters={"truncation": False})
    assert code(refused) == (413, "text_too_long")
    assert refused[1]["error"]["max_tokens"] == tiny.LONGEST
    status, (good, bad) = post(loaded, ["good", long], parameters={"truncation": False})
    assert (status, set(good)) == (200, {"label", "score"})
    assert (bad["error"]["code"], bad["error"]["index"]) == ("text_too_long", 1)


def test_options_of_hugging_face_s_own_servers_do_no_harm(loaded: Any) -> None:
    options = {"wait_for_model": True, "use_cache": False}
    assert post(loaded, "good", options=options) == post(loaded, "good")
    assert post(loaded, "good", options=None, parameters=None) == post(loaded, "good")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"parameters": {"return_all_scores": True}}, "unknown_key"),
        ({"parameters": []}, "invalid_type"),
        ({"options": 7}, "invalid_type"),
        ({"text": "a"}, "unknown_key"),
        ({"parameters": {"top_k": 0}}, "invalid_value"),
        ({"parameters": {"top_k": "2"}}, "invalid_type"),
        ({"parameters": {"function_to_apply": "relu"}}, "invalid_value"),
        ({"parameters": {"function_to_apply": 1}}, "invalid_type"),
        ({"parameters": {"truncation": "longest_first"}}, "invalid_type"),
        ({"parameters": {"max_length": tiny.LONGEST + 1}}, "invalid_value"),
    ],
)
def test_what_is_wrong_as_a_whole_is_refused(
    loaded: Any, more: dict[str, Any], expected: str
) -> None:
    assert code(post(loaded, "good", **more)) == (422, expected)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (None, "invalid_type"),
        (7, "invalid_type"),
        (True, "invalid_type"),
        ("", "empty_text"),
        ([], "missing_text"),
        ({}, "missing_text"),
        ({"text": "a", "top_k": 1}, "unknown_key"),
    ],
)
def test_inputs_that_are_no_text_are_refused(loaded: Any, inputs: Any, expected: str) -> None:
    assert code(post(loaded, inputs)) == (422, expected)


def test_a_text_that_is_wrong_leaves_its_neighbours_alone(loaded: Any) -> None:
    status, value = post(loaded, ["good", "", ["nested"]], parameters={"top_k": 1})
    assert status == 200
    assert [len(item) for item in value] == [1, 1, 1]
    assert [value[index]["error"]["code"] for index in (1, 2)] == ["empty_text", "invalid_type"]
    assert [value[index]["error"]["index"] for index in (1, 2)] == [1, 2]
    status, value = post(loaded, ["", 7])
    assert (status, len(value)) == (422, 2)


def test_too_many_inputs_are_refused(loaded: Any) -> None:
    assert code(post(loaded, ["a"] * 129)) == (413, "too_many_texts")

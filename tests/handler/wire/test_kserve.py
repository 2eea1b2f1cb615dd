import json
from typing import Any

import pytest

from fakes import answer, near, rest, v1_or_v2


def post(loaded: Any, value: Any) -> tuple[int, Any]:
    (answered,) = answer(loaded, [v1_or_v2(json.dumps(value).encode())])
    return answered


def native(loaded: Any, value: Any) -> Any:
    """What the native protocol answers to one instance."""
    ((_, map_),) = answer(loaded, [rest(json.dumps(value).encode())])
    return map_


def test_every_instance_is_answered_as_the_native_protocol_does(loaded: Any) -> None:
    instances = [
        {"text": "good film"},
        {"text": "good", "text_pair": "film"},
        {"text": "good " * 99, "max_length": 8, "details": True},
        {"text": "awful", "top_k": 1},
    ]
    status, value = post(loaded, {"instances": ["awful", *instances]})
    maps = [native(loaded, {"text": "awful"}), *(native(loaded, item) for item in instances)]
    assert (status, value) == (200, {"predictions": near(maps)})


def test_rows_of_several_instances_share_a_batch(loaded: Any) -> None:
    bodies = [{"instances": ["good"] * count} for count in (1, 3, 2)]
    answers = answer(loaded, [v1_or_v2(json.dumps(body).encode()) for body in bodies])
    assert [len(value["predictions"]) for _, value in answers] == [1, 3, 2]


def test_an_instance_that_is_wrong_leaves_its_neighbours_alone(loaded: Any) -> None:
    wrong = [7, None, ["a"], "", {}, {"text": "a", "texts": ["b"]}, {"text": "a", "top_k": 0}]
    status, value = post(loaded, {"instances": ["good", *wrong]})
    first, *errors = value["predictions"]
    assert (status, first) == (200, near(native(loaded, {"text": "good"})))
    assert [error["error"]["code"] for error in errors] == [
        "invalid_type", "invalid_type", "invalid_type", "empty_text", "missing_text",
        "unknown_key", "invalid_value",
    ]  # fmt: skip
    assert [error["error"]["index"] for error in errors] == list(range(1, 8))


def test_where_no_instance_succeeds_the_first_error_s_status_is_sent(loaded: Any) -> None:
    too_long = {"text": "good " * 200, "truncate": False}
    status, value = post(loaded, {"instances": [too_long, ""]})
    assert status == 413
    codes = [error["error"]["code"] for error in value["predictions"]]
    assert codes == ["text_too_long", "empty_text"]


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ({"instances": []}, 422, "missing_text"),
        ({"instances": "a"}, 422, "invalid_type"),
        ({"instances": None}, 422, "invalid_type"),
        ({"instances": ["a"] * 129}, 413, "too_many_texts"),
        ({"instances": ["a"], "top_k": 1}, 422, "unknown_key"),
        ({"instances": ["a"], "text": "a"}, 422, "unknown_key"),
    ],
)
def test_what_is_wrong_as_a_whole_is_refused(
    loaded: Any, value: Any, status: int, code: str
) -> None:
    actual, refused = post(loaded, value)
    assert (actual, refused["error"]["code"]) == (status, code)

import base64
import json
import math
from typing import Any

import pytest

import tiny
from fakes import answer, near, open_inference, rest, v1_or_v2

LABELS = list(tiny.LABELS)
PAIR = {"name": "text_pair", "datatype": "BYTES", "shape": [1], "data": ["film"]}


def tensor(*texts: Any, **changes: Any) -> dict[str, Any]:
    usual = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return {**usual, **changes}


def post(loaded: Any, *inputs: Any, **more: Any) -> tuple[int, Any]:
    (answered,) = answer(loaded, [v1_or_v2(json.dumps({"inputs": inputs, **more}).encode())])
    return answered


def infer(loaded: Any, texts: list[bytes], **changes: Any) -> dict[str, Any]:
    """The answer over gRPC, which must be whole whatever is wrong, or it kills the worker."""
    ((_, value),) = answer(loaded, [open_inference(texts, **changes)])
    return whole(value)


def whole(value: dict[str, Any]) -> dict[str, Any]:
    for key in ("id", "model_name", "model_version", "outputs"):
        assert value[key] is not None
    for output in value["outputs"]:
        assert set(output) == {"name", "datatype", "shape", "data"}
        assert math.prod(output["shape"]) == len(output["data"])
    return value


def outputs(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {output["name"]: output for output in value["outputs"]}


def native(loaded: Any, **value: Any) -> dict[str, Any]:
    ((_, details),) = answer(loaded, [rest(json.dumps({**value, "details": True}).encode())])
    return dict(details)


def in_order(map_: dict[str, float]) -> list[float]:
    return [map_[label] for label in LABELS]


class TestRest:
    def test_labels_and_probabilities_in_the_model_s_order(self, loaded: Any) -> None:
        first, second = (native(loaded, text=text) for text in ("good film", "awful"))
        status, value = post(loaded, tensor("good film", "awful"))
        assert status == 200
        assert value == {
            "model_name": "tiny",
            "model_version": "1.0",
            "parameters": {"labels": LABELS},
            "outputs": [
                {
                    "name": "label",
                    "datatype": "BYTES",
                    "shape": [2],
                    "data": [first["label"], second["label"]],
                },
                {
                    "name": "probabilities",
                    "datatype": "FP32",
                    "shape": [2, len(LABELS)],
                    "data": near(
                        in_order(first["probabilities"]) + in_order(second["probabilities"])
                    ),
                },
            ],
        }

    def test_all_outputs_can_be_asked_for(self, loaded: Any) -> None:
        names = ["truncated", "tokens", "logits", "probabilities", "label"]
        asked = [{"name": name, "parameters": {"binary_data": False}} for name in names]
        _, value = post(loaded, tensor("good " * 99), outputs=asked, parameters={"max_length": 9})
        details = native(loaded, text="good " * 99, max_length=9)
        assert [output["name"] for output in value["outputs"]] == names
        found = outputs(value)
        assert (found["tokens"]["data"], found["tokens"]["datatype"]) == ([9], "INT32")
        assert (found["truncated"]["data"], found["truncated"]["datatype"]) == ([True], "BOOL")
        assert found["logits"]["data"] == near(in_order(details["logits"]))
        assert found["label"]["data"] == [details["label"]]

    def test_no_outputs_asked_for_are_the_usual_ones(self, loaded: Any) -> None:
        assert post(loaded, tensor("a"), outputs=[]) == post(loaded, tensor("a"))

    def test_top_k_answers_the_most_probable_labels_of_each_text(self, loaded: Any) -> None:
        asked = [{"name": name} for name in ("label", "probabilities", "logits")]
        _, value = post(loaded, tensor("good", "awful"), parameters={"top_k": 2}, outputs=asked)
        found = outputs(value)
        details = [native(loaded, text=text, top_k=2) for text in ("good", "awful")]
        for name, key in (("probabilities", "probabilities"), ("logits", "logits")):
            assert found[name]["shape"] == [2, 2]
            assert found[name]["data"] == near([x for item in details for x in item[key].values()])
        assert found["label"]["shape"] == [2, 2]
        assert found["label"]["data"] == [x for item in details for x in item["probabilities"]]
        _, value = post(loaded, tensor("good"), parameters={"top_k": 99})
        assert outputs(value)["probabilities"]["shape"] == [1, len(LABELS)]

    def test_pairs(self, loaded: Any) -> None:
        _, value = post(loaded, tensor("good"), PAIR)
        expected = native(loaded, text="good", text_pair="film")["probabilities"]
        assert outputs(value)["probabilities"]["data"] == near(in_order(expected))
        assert post(loaded, PAIR, tensor("good"))[1] == near(value)

    @pytest.mark.parametrize(
        ("shape", "data"), [([2, 1], [["a"], ["b"]]), ([1, 2], [["a", "b"]]), ([2, 1], ["a", "b"])]
    )
    def test_data_may_be_nested(self, loaded: Any, shape: list[int], data: Any) -> None:
        flat = post(loaded, tensor("a", "b"))
        assert post(loaded, tensor(shape=shape, data=data)) == (flat[0], near(flat[1]))

    def test_the_id_is_answered_back(self, loaded: Any) -> None:
        assert post(loaded, tensor("a"), id="ä-7")[1]["id"] == "ä-7"
        assert post(loaded, tensor("a"), id="")[1]["id"] == ""
        assert "id" not in post(loaded, tensor("a"), id=None)[1]

    @pytest.mark.parametrize(
        ("inputs", "more", "code"),
        [
            ([tensor("a", shape=[2])], {}, "invalid_value"),
            ([tensor("a", shape=[])], {}, None),
            ([tensor("a", shape=None)], {}, "invalid_type"),
            ([tensor("a", shape=["1"])], {}, "invalid_type"),
            ([tensor("a", shape=[-1])], {}, "invalid_type"),
            ([tensor("a", shape=[True])], {}, "invalid_type"),
            ([tensor("a", shape=[2**31 - 1] * 9)], {}, "invalid_type"),
            ([tensor("a", shape=[10**400])], {}, "invalid_type"),
            ([tensor("a", datatype="FP32")], {}, "invalid_value"),
            ([tensor("a", datatype=["BYTES"])], {}, "invalid_value"),
            ([tensor("a", data="a")], {}, "invalid_type"),
            ([tensor("a", data=None)], {}, "invalid_type"),
            ([tensor()], {}, "missing_text"),
            ([tensor("a", name="input_ids")], {}, "unknown_key"),
            ([tensor("a", name=7)], {}, "invalid_type"),
            ([tensor("a", more=1)], {}, "unknown_key"),
            ([tensor("a", parameters=[])], {}, "invalid_type"),
            ([tensor("a", parameters={"binary_data_size": 5})], {}, "unsupported_media_type"),
            ([tensor("a"), tensor("b")], {}, "conflicting_keys"),
            ([tensor("a"), 7], {}, "invalid_type"),
            ([tensor("a", "b"), PAIR], {}, "invalid_value"),
            ([PAIR], {}, "missing_text"),
            ([tensor("a")], {"id": 7}, "invalid_type"),
            ([tensor("a")], {"id": "a" * 1_001}, "invalid_value"),
            ([tensor("a")], {"id": "\ud800"}, "invalid_value"),
            ([tensor("a")], {"outputs": "label"}, "invalid_type"),
            ([tensor("a")], {"outputs": ["label"]}, "invalid_value"),
            ([tensor("a")], {"outputs": [{"name": "embedding"}]}, "invalid_value"),
            ([tensor("a")], {"outputs": [{"name": ["label"]}]}, "invalid_value"),
            ([tensor("a")], {"parameters": {"top_k": "2"}}, "invalid_type"),
            ([tensor("a")], {"parameters": {"topk": 2}}, "unknown_key"),
            ([tensor("a")], {"parameters": 2}, "invalid_type"),
            ([tensor("a")], {"instances": ["a"]}, "unknown_key"),
            ([tensor(*["a"] * 129)], {}, "too_many_texts"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_as_a_whole_is_refused(
        self, loaded: Any, inputs: list[Any], more: dict[str, Any], code: str | None
    ) -> None:
        status, value = post(loaded, *inputs, **more)
        if code is None:  # a tensor without dimensions holds one element
            assert status == 200
        else:
            assert status in (413, 415, 422)
            assert value["error"]["code"] == code

    def test_a_text_that_is_wrong_leaves_its_neighbours_alone(self, loaded: Any) -> None:
        status, value = post(loaded, tensor("", "good", 7))
        assert status == 200
        found = outputs(value)
        good = native(loaded, text="good")
        width = len(LABELS)
        assert found["label"]["data"] == ["", good["label"], ""]
        probabilities = found["probabilities"]["data"]
        assert probabilities[:width] == probabilities[2 * width :] == [0.0] * width
        assert probabilities[width : 2 * width] == near(in_order(good["probabilities"]))
        first, none, last = found["error"]["data"]
        assert json.loads(first)["code"] == "empty_text"
        assert none == ""
        assert json.loads(last) == {**json.loads(last), "code": "invalid_type", "index": 2}

    def test_where_no_text_succeeds_the_first_error_is_the_answer(self, loaded: Any) -> None:
        status, value = post(loaded, tensor(""))
        assert (status, value["error"]["code"]) == (422, "empty_text")
        assert "index" not in value["error"]
        status, value = post(loaded, tensor("good " * 99, ""), parameters={"truncate": False})
        assert (status, value["error"]["code"], value["error"]["index"]) == (
            413,
            "text_too_long",
            0,
        )


class TestGrpc:
    def test_the_answer_has_the_labels_as_an_output(self, loaded: Any) -> None:
        value = infer(loaded, [b"good film", "\ufeffawful".encode()])
        found = outputs(value)
        assert (value["id"], value["model_name"], value["model_version"]) == ("", "tiny", "1.0")
        assert list(found) == ["label", "probabilities", "labels"]
        assert found["labels"]["data"] == LABELS
        expected = [native(loaded, text=text) for text in ("good film", "awful")]
        assert found["label"]["data"] == [details["label"] for details in expected]
        assert found["probabilities"]["data"] == near(
            [x for details in expected for x in in_order(details["probabilities"])]
        )

    def test_the_id_is_answered_back(self, loaded: Any) -> None:
        row, headers = open_inference([b"a"])
        body = {**json.loads(row["body"]), "id": "7"}
        ((_, value),) = answer(loaded, [({"body": json.dumps(body).encode()}, headers)])
        assert whole(value)["id"] == "7"

    def test_a_text_that_is_wrong_leaves_its_neighbours_alone(self, loaded: Any) -> None:
        found = outputs(infer(loaded, [b"good", b"", b"\xff"]))
        assert found["label"]["data"][1:] == ["", ""]
        none, empty, not_utf8 = found["error"]["data"]
        assert none is None
        assert (empty["code"], empty["index"]) == ("empty_text", 1)
        assert (not_utf8["code"], not_utf8["index"]) == ("invalid_utf8", 2)

    def test_where_no_text_succeeds_the_answer_is_whole_all_the_same(self, loaded: Any) -> None:
        found = outputs(infer(loaded, [b""]))
        assert found["probabilities"]["data"] == [0.0] * len(LABELS)
        assert found["error"]["data"][0]["code"] == "empty_text"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"datatype": "FP32"}, "invalid_value"),
            ({"datatype": ""}, "invalid_value"),
            ({"shape": [3]}, "invalid_value"),
            ({"shape": [-1]}, "invalid_type"),
            ({"data": []}, "invalid_value"),  # what raw contents become
            ({"data": None}, "invalid_type"),
            ({"data": [], "shape": [0]}, "missing_text"),
            ({"data": [1.5]}, "invalid_type"),
            ({"data": [True]}, "invalid_type"),
            ({"data": ["not base64!"]}, "invalid_type"),
            ({"data": ["ä"]}, "invalid_type"),
            ({"name": "input_ids"}, "unknown_key"),
            ({"name": ""}, "unknown_key"),
        ],
    )
    def test_a_refusal_is_an_answer_with_an_output(
        self, loaded: Any, changes: dict[str, Any], code: str
    ) -> None:
        found = outputs(infer(loaded, [b"good"], **changes))
        assert found["error"]["data"][0]["code"] == code
        assert found["error"]["datatype"] == "BYTES"

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"[]", b"{}", b"null", b'{"inputs": null}', b'{"inputs": []}', b'{"text": "a"}',
            b'{"instances": ["a"]}', b'{"inputs": "a"}', b"\xff", b"[" * 100_000, b'{"inputs": [7]}',
        ],
    )  # fmt: skip
    def test_whatever_torchserve_may_write_is_answered_whole(
        self, loaded: Any, body: bytes
    ) -> None:
        headers = {"body": {"content-type": "application/json"}}
        ((_, value),) = answer(loaded, [({"body": body}, headers)])
        assert outputs(whole(value))["error"]["data"][0]["code"]

    def test_a_pair(self, loaded: Any) -> None:
        row, headers = open_inference([b"good"])
        body = json.loads(row["body"])
        body["inputs"].append({**PAIR, "data": [base64.b64encode(b"film").decode()]})
        ((_, value),) = answer(loaded, [({"body": json.dumps(body).encode()}, headers)])
        expected = native(loaded, text="good", text_pair="film")["probabilities"]
        assert outputs(whole(value))["probabilities"]["data"] == near(in_order(expected))

"""Rows of all protocols in one batch: each answered in its own language, none changed by another."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bodies
import fakes
import tiny

Row = tuple[dict[str, Any], dict[str, Any]]

LABELS = list(tiny.LABELS)
TENSOR = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good film", ""]}


def test_one_batch_with_rows_of_every_protocol_good_and_bad(loaded: Any) -> None:
    answers = fakes.answer(
        loaded,
        [
            fakes.rest(b"good film", "text/plain"),
            fakes.rest(b'{"texts": ["good film", ""]}'),
            fakes.rest(b"{", "application/json"),
            fakes.rest(b'{"inputs": "good film", "parameters": {"top_k": 1}}'),
            fakes.invocation(b'{"inputs": "good film"}'),
            fakes.invocation(b'{"inputs": 7}'),
            fakes.v1_or_v2(b'{"instances": ["good film", ""]}'),
            fakes.v1_or_v2(json.dumps({"inputs": [TENSOR]}).encode()),
            fakes.v1_or_v2(b'{"inputs": [{"name": "text"}]}'),
            fakes.grpc(b"good film"),
            fakes.grpc(b"\xff"),
            fakes.open_inference([b"good film", b""]),
            fakes.open_inference([b"a"], datatype="FP32"),
            fakes.rest(b"<a/>", "application/xml"),
            ({"body": b"a"}, {"explain": "True", "Host": "x"}),
        ],
    )
    map_ = fakes.near(answers[0][1])
    best = {"label": next(iter(answers[0][1])), "score": next(iter(map_.values()))}
    statuses = [200, 200, 400, 200, 200, 422, 200, 200, 422, 200, 400, 200, 422, 415, 200]
    assert [status for status, _ in answers] == statuses
    values = [value for _, value in answers]
    assert values[1][0] == map_
    assert values[6]["predictions"][0] == map_
    for _, value in (values[1], values[6]["predictions"]):
        assert (value["error"]["code"], value["error"]["index"]) == ("empty_text", 1)
    assert values[3] == [[best]]
    assert values[4] == [best]
    assert values[9] == map_
    for value in (values[7], values[11]):
        found = {output["name"]: output["data"] for output in value["outputs"]}
        assert found["label"] == [best["label"], ""]
        assert found["probabilities"] == [*(map_[label] for label in LABELS), *[0.0] * len(LABELS)]
        assert "empty_text" in str(found["error"][1])
    codes = [values[index]["error"]["code"] for index in (2, 5, 8, 10, 13)]
    assert codes == [
        "invalid_json", "invalid_type", "invalid_value", "invalid_utf8", "unsupported_media_type",
    ]  # fmt: skip
    assert [word["word"] for word in values[14]["words"]] == ["a"]
    (refused,) = values[12]["outputs"]
    assert refused["data"][0]["code"] == "invalid_value"


FORGED: Row = ({}, {"describe": "True", "Host": "x"})  # an empty form with such a header
EXPLAIN = fakes.rest(b"good film", "text/plain", explain="True")


def row_of(seed: int) -> Row:
    """A row at random, as TorchServe makes it of a call."""
    call = bodies.make(random.Random(seed), large=False)
    if call.way == "infer":
        return open_inference_row(json.loads(call.body))
    if call.way in ("grpc", "stream"):
        return fakes.grpc(call.body)
    make = {"predictions": fakes.rest, "version": fakes.rest, "invocations": fakes.invocation}
    row, headers = make.get(call.way, fakes.v1_or_v2)(call.body)
    headers["body"] = {"content-type": call.headers.get("content-type", "").partition(";")[0]}
    return row, {**headers, **call.headers}


def open_inference_row(message: dict[str, Any]) -> Row:
    inputs = []
    for tensor in message["inputs"]:
        key = bodies.CONTENTS.get(tensor["datatype"])
        data = {"data": tensor.get("contents", {}).get(key, [])} if key else {}
        inputs.append({**{name: tensor[name] for name in ("name", "shape", "datatype")}, **data})
    value = {"id": message.get("id", ""), "model_name": "tiny", "inputs": inputs}
    headers = {"body": {"content-type": "application/json"}}
    return {"body": bytearray(json.dumps(value).encode())}, headers


ROWS = st.integers(0, 2**32).map(row_of) | st.sampled_from([FORGED, EXPLAIN])


@settings(max_examples=80)
@given(st.lists(ROWS, min_size=2, max_size=12))
def test_no_row_changes_the_answer_of_another(loaded: Any, rows: list[Row]) -> None:
    together = fakes.answer(loaded, rows)
    alone = [fakes.answer(loaded, [row])[0] for row in rows]
    assert together == [(status, fakes.near(value)) for status, value in alone]
    assert 500 not in {status for status, _ in alone}


def all_ways(loaded: Any, text: str) -> list[dict[str, float]]:
    """The probabilities of one text over every protocol, each time sent alone."""
    quoted = json.dumps(text)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}

    def send(row: Row) -> Any:
        ((status, value),) = fakes.answer(loaded, [row])
        assert status == 200
        return value

    def tensors(value: Any) -> dict[str, float]:
        (data,) = (
            output["data"] for output in value["outputs"] if output["name"] == "probabilities"
        )
        return dict(zip(LABELS, data, strict=True))

    scores = f'{{"inputs": {quoted}, "parameters": {{"top_k": null}}}}'.encode()
    over_grpc = tensors(send(fakes.open_inference([text.encode()])))
    return [
        send(fakes.rest(text.encode(), "text/plain")),
        send(fakes.rest(f'{{"text": {quoted}}}'.encode())),
        send(fakes.rest(f'{{"texts": [{quoted}]}}'.encode()))[0],
        send(fakes.rest(f'{{"text": {quoted}, "details": true}}'.encode()))["probabilities"],
        send(fakes.grpc(text.encode())),
        {item["label"]: item["score"] for item in send(fakes.rest(scores))[0]},
        {item["label"]: item["score"] for item in send(fakes.invocation(scores))},
        send(fakes.v1_or_v2(f'{{"instances": [{quoted}]}}'.encode()))["predictions"][0],
        tensors(send(fakes.v1_or_v2(json.dumps({"inputs": [tensor]}).encode()))),
        # what is left of the numbers in the message's float fields
        {k: struct.unpack("<f", struct.pack("<f", v))[0] for k, v in over_grpc.items()},
    ]


@pytest.mark.parametrize("text", tiny.TEXTS)
def test_probabilities_are_equal_to_the_last_bit_over_every_protocol(
    loaded: Any, text: str
) -> None:
    first, *others = all_ways(loaded, text)
    assert set(first) == set(LABELS)
    for other in others:
        assert other == first

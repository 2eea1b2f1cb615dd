import os
from typing import Any

import pytest
from ts.context import Context

import fakes
from handler.errors import RequestError
from handler.wire.rows import Row, keep_bodies_raw, read_rows, send


def test_a_body_comes_with_its_media_type_in_lower_case() -> None:
    body = Row(*fakes.rest(b"hello", "Text/PLAIN")).body()
    assert (body.content, body.media_type) == (b"hello", "text/plain")


def test_a_grpc_body_has_no_media_type() -> None:
    body = Row(*fakes.grpc(b"hello")).body()
    assert (body.content, body.media_type) == (b"hello", "")


def test_a_client_s_header_named_body_does_not_harm() -> None:
    row, headers = fakes.rest(b"hello")
    headers["body"] = "text/plain"  # what TorchServe makes of it
    assert Row(row, headers).body().media_type == ""


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"text": b"hello"},
        {"body": b"a", "data": b"b"},
        {'{"text":"a': b'b"}'},
        {"top_k": b"3", "body": b"hello"},
    ],
)
def test_a_row_without_a_single_body_is_an_error(row: Any) -> None:
    with pytest.raises(RequestError, match="no single body; send JSON") as raised:
        Row(dict.fromkeys(row, b""), {"Host": "x"}).body()
    assert raised.value.status == 415


def test_the_model_s_name_may_stand_beside_the_body() -> None:
    assert Row({"model_name": b"m", "body": b"hello"}, {}).body().content == b"hello"


def test_an_explanation_is_known_by_torchserve_s_header() -> None:
    assert Row(*fakes.rest(b"hello", explain="True")).is_explanation
    for row in (
        fakes.rest(b"hello"),
        fakes.v1_or_v2(b"{}"),
        fakes.invocation(b"{}"),
        fakes.grpc(b""),
    ):
        assert not Row(*row).is_explanation


def test_only_torchserve_can_ask_for_a_description() -> None:
    assert Row(*fakes.describe()).is_describe
    row, headers = fakes.rest(b"hello", describe="True")
    assert not Row(row, headers).is_describe
    assert not Row({}, {"Host": "x"}).is_describe


def test_rows_of_grpc_are_told_from_those_of_http() -> None:
    assert Row(*fakes.grpc(b"")).is_grpc
    assert not Row(*fakes.rest(b"")).is_grpc


def test_the_open_inference_protocol_is_known_by_the_json_that_torchserve_writes() -> None:
    assert Row(*fakes.open_inference([b"a"])).is_open_inference
    assert not Row(*fakes.grpc(b"{}", "body")).is_open_inference
    assert not Row(*fakes.rest(b"{}")).is_open_inference


def test_an_invocation_has_no_header_of_torchserve_s_own() -> None:
    assert Row(*fakes.invocation(b"{}")).is_invocation
    assert not Row(*fakes.rest(b"{}")).is_invocation
    assert not Row(*fakes.v1_or_v2(b"{}")).is_invocation
    assert not Row(*fakes.grpc(b"{}")).is_invocation


def test_hugging_face_s_client_is_known_by_its_user_agent() -> None:
    row, headers = fakes.invocation(b"{}")
    assert not Row(row, headers).is_from_hugging_face
    for name in ("user-agent", "User-Agent"):
        agent = {name: "unknown/None; hf_hub/2.4.0; python/3.11.7"}
        assert Row(row, {**headers, **agent}).is_from_hugging_face


def test_torchserve_is_told_to_leave_bodies_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TS_DECODE_INPUT_REQUEST", "true")
    keep_bodies_raw()
    assert os.environ["TS_DECODE_INPUT_REQUEST"] == "false"


def test_each_row_is_sent_with_its_own_status_and_type() -> None:
    context: Any = Context("m", "", None, 2, None, "0.12.0")
    rows = [fakes.rest(b"a"), fakes.grpc(b"b"), fakes.rest(b"c")]
    batch = read_rows(fakes.receive(context, rows), context)
    answers = [(200, '{"ä": 0.5}'.encode()), (422, b'{"error": {"code": "x"}}'), (413, b'{"": []}')]
    assert send(batch, answers, context) == [body for _, body in answers]
    statuses = [context.get_response_status(index) for index in range(3)]
    assert [status for status, _ in statuses] == [200, 422, 413]
    for index, (_, phrase) in enumerate(statuses):
        assert (phrase or "").isascii()
        assert "\n" not in (phrase or "")
        assert context.get_response_content_type(index) == "application/json"


def test_the_header_that_ends_a_stream_goes_to_grpc_rows_alone() -> None:
    context: Any = Context("m", "", None, 2, None, "0.12.0")
    rows = [fakes.rest(b"a"), fakes.grpc(b"b")]
    batch = read_rows(fakes.receive(context, rows), context)
    send(batch, [(200, b"{}"), (200, b"{}")], context)
    assert "ts_stream_next" not in context.get_response_headers(0)
    assert context.get_response_headers(1)["ts_stream_next"] == "false"

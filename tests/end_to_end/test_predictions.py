"""What a caller gets over real HTTP and gRPC."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import tiny
from bertserve.clients.keys import bearer
from bertserve.handler.values import Prediction as Expected
from bertserve.handler.values import Text
from serving import PATIENCE, Served, wait_until


def expected(served: Served, *texts: str | tuple[str, str]) -> list[Any]:
    """Maps of this process' own pipeline, to compare with within 1e-5."""
    inputs = [Text(text) if isinstance(text, str) else Text(*text) for text in texts]
    results = served.tiny.pipeline(inputs)
    return [
        pytest.approx(result.probabilities, abs=1e-5)
        for result in results
        if isinstance(result, Expected)
    ]


def test_each_form_of_the_native_protocol(served: Served) -> None:
    one, two, pair = expected(served, "good film", "awful", ("good", "film"))
    forms: list[tuple[Any, str, Any]] = [
        (b"good film", "text/plain", one),
        (b"good film", "text/plain; charset=utf-8", one),
        (b'{"text": "good film"}', "application/json", one),
        (b'{"text": "good film"}', "application/json; charset=utf-8", one),
        (b'{"text": "good film"}', "", one),
        (b"good film", "", one),
        (b'{"text": "good", "text_pair": "film"}', "application/json", pair),
        (b'{"texts": ["good film", {"text": "awful"}]}', "application/json", [one, two]),
    ]
    for body, media_type, answer in forms:
        response = served.post(body, media_type)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json() == answer


def test_a_map_is_ordered_by_falling_probability_and_sums_to_one(served: Served) -> None:
    map_ = served.post(b'{"text": "the kettle was rude"}').json()
    assert list(map_.values()) == sorted(map_.values(), reverse=True)
    assert sum(map_.values()) == pytest.approx(1, abs=1e-5)


def test_details_top_k_and_truncation(served: Served) -> None:
    body = {"text": "good " * 200, "details": True, "top_k": 1, "max_length": 16}
    answer = served.post(json.dumps(body).encode()).json()
    assert answer["model"] == "tiny"
    assert answer["version"] == "1.0"
    assert answer["tokens"] == 16
    assert answer["truncated"] is True
    assert list(answer["probabilities"]) == [answer["label"]] == list(answer["logits"])


def test_a_wrong_request_is_answered_in_the_one_shape(served: Served) -> None:
    response = served.post(b'{"text": "good", "top": 1}')
    assert response.status_code == 422
    assert response.reason_phrase.isascii()
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error["code"] == "unknown_key"
    assert "unknown key 'top'" in error["message"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"data": {"text": "a field of a form"}}, "unsupported_media_type"),
        ({"files": {"text": b"a field of a form"}}, "unsupported_media_type"),
        ({"content": b"<a/>", "headers": {"Content-Type": "text/html"}}, "unsupported_media_type"),
    ],
)
def test_other_media_types_are_refused(served: Served, options: dict[str, Any], code: str) -> None:
    key = bearer(served.server.key("inference"))
    url = f"{served.server.addresses.inference}/predictions/tiny"
    response = httpx.post(
        url, **{**options, "headers": {**key, **options.get("headers", {})}}, timeout=PATIENCE
    )
    assert (response.status_code, response.json()["error"]["code"]) == (415, code)


def test_headers_of_a_client_cannot_mislead_the_handler(served: Served) -> None:
    (one,) = expected(served, "good film")
    hostile = {"describe": "True", "explain": "True", "body": "x", "data": "x", "url_path": "x"}
    url = f"{served.server.addresses.inference}/predictions/tiny"
    for name, value in hostile.items():
        headers = {
            **bearer(served.server.key("inference")),
            "Content-Type": "text/plain",
            name: value,
        }
        assert (
            httpx.post(url, content=b"good film", headers=headers, timeout=PATIENCE).json() == one
        )


def test_an_empty_form_cannot_ask_for_a_description_in_others_place(served: Served) -> None:
    before = served.worker_pids()
    url = f"{served.server.addresses.inference}/predictions/tiny"
    headers = {
        **bearer(served.server.key("inference")),
        "Content-Type": "application/x-www-form-urlencoded",
        "describe": "True",
    }
    assert httpx.post(url, headers=headers, timeout=PATIENCE).status_code in (200, 415)
    assert served.post(b"good film", "text/plain").status_code == 200
    assert served.worker_pids() == before


def test_describe_says_what_is_served(served: Served) -> None:
    with served.server.client("tiny") as client:
        described = client.describe()
    assert (described.model, described.version) == ("tiny", "1.0")
    assert described.labels == tiny.LABELS
    assert described.precision == "float32"
    assert described.device == "cpu"
    assert described.calibration == {"method": "none"}
    assert "model/model.safetensors" in described.checksums


def test_without_a_token_nothing_is_answered(served: Served) -> None:
    addresses = served.server.addresses
    for url in (f"{addresses.inference}/predictions/tiny", f"{addresses.management}/models"):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert httpx.get(url, headers=headers, timeout=PATIENCE).status_code == 400


# TorchServe's gRPC messages, by hand: a field is its number and kind, its length, its bytes
def field(number: int, value: bytes) -> bytes:
    size, length = len(value), b""
    while size >= 128:
        length += bytes([size % 128 + 128])
        size //= 128
    return bytes([number * 8 + 2]) + length + bytes([size]) + value


def predictions_request(model: str, **inputs: bytes) -> bytes:
    entries = (field(1, name.encode()) + field(2, value) for name, value in inputs.items())
    return field(1, model.encode()) + b"".join(field(3, entry) for entry in entries)


def prediction_response(message: bytes) -> Any:
    assert message[0] == 10  # field 1, bytes
    start = 1
    while message[start] >= 128:
        start += 1
    return json.loads(message[start + 1 :])


class TestGrpc:
    SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"

    def call(self, served: Served, **inputs: bytes) -> Any:
        metadata = [("authorization", f"Bearer {served.server.key('inference')}")]
        request = predictions_request("tiny", **inputs)
        with grpc.insecure_channel(served.server.addresses.grpc_inference) as channel:
            call: Any = channel.unary_unary(f"{self.SERVICE}/Predictions")
            return prediction_response(call(request, metadata=metadata, timeout=PATIENCE))

    def test_predictions_take_the_bytes_of_http(self, served: Served) -> None:
        (one,) = expected(served, "good film")
        assert self.call(served, data=b"good film") == one
        assert self.call(served, data=b'{"text": "good film"}') == one

    def test_a_wrong_request_gets_the_error_in_its_body(self, served: Served) -> None:
        assert self.call(served, data=b"")["error"]["code"] == "empty_text"
        assert self.call(served, data=b"\xff")["error"]["code"] == "invalid_utf8"
        assert self.call(served, text=b"x")["error"]["code"] == "unsupported_media_type"
        assert self.call(served)["error"]["code"] == "unsupported_media_type"

    def test_a_stream_is_answered_and_kills_no_worker(self, served: Served) -> None:
        before = served.worker_pids()
        (one,) = expected(served, "good film")
        metadata = [("authorization", f"Bearer {served.server.key('inference')}")]
        with grpc.insecure_channel(served.server.addresses.grpc_inference) as channel:
            call: Any = channel.unary_stream(f"{self.SERVICE}/StreamPredictions")
            request = predictions_request("tiny", data=b"good film")
            messages = list(call(request, metadata=metadata, timeout=PATIENCE))
        assert [prediction_response(message) for message in messages] == [one]
        assert served.worker_pids() == before

    def test_without_a_token_nothing_is_answered(self, served: Served) -> None:
        with grpc.insecure_channel(served.server.addresses.grpc_inference) as channel:
            call: Any = channel.unary_unary(f"{self.SERVICE}/Predictions")
            with pytest.raises(grpc.RpcError) as raised:
                call(predictions_request("tiny", data=b"x"), timeout=PATIENCE)
        assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_requests_that_wait_are_taken_together(served: Served) -> None:
    """Though nobody is waited for."""
    at_once, count = 8, 32
    metrics = f"{served.server.addresses.metrics}/metrics"
    gauges = f"{served.server.addresses.supervisor}/metrics"
    url = f"{served.server.addresses.inference}/predictions/{served.tiny.name}"
    long = {"texts": ["good film " * 500] * 128}
    workers = served.server.models()[0].wanted

    def total(place: str, name: str) -> float:
        families = text_string_to_metric_families(client.get(place).text)
        samples = (sample for family in families for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == name)

    def batches_of_many() -> float:
        """How many they were in; 0 where the workers were done with others before all had come."""
        with ThreadPoolExecutor(3 * workers + count) as pool:
            slow = [pool.submit(client.post, url, json=long) for _ in range(3 * workers)]
            wait_until(partial(is_so, slow, "bertserve_workers_busy", workers))
            others = [pool.submit(client.post, url, json={"text": "good"}) for _ in range(count)]
            wait_until(partial(is_so, slow, "bertserve_requests_waiting", count))
            begun = total(metrics, "bertserve_batches_total")
            had_come = not any(each.done() for each in slow[:workers])
            assert {each.result().status_code for each in (*slow, *others)} == {200}
        return total(metrics, "bertserve_batches_total") - begun if had_come else 0

    def is_so(slow: list[Future[httpx.Response]], gauge: str, wanted: int) -> bool:
        return slow[0].done() or total(gauges, gauge) >= wanted

    headers = bearer(served.server.key("inference"))
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(headers=headers, timeout=PATIENCE, limits=limits) as client:
        # those that kept the workers are two batches each at most
        assert wait_until(batches_of_many) <= 2 * workers + count / at_once + workers

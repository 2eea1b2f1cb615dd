"""Clients that nobody here wrote get right answers, and harm no worker."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy
import pytest
import tritonclient.http as triton
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tritonclient.utils import InferenceServerException

import stubs
import tiny
from bertserve.clients.keys import bearer
from bertserve.handler.values import Prediction, Text
from serving import PATIENCE, Served, environment

KSERVE_CLIENT = Path(__file__).with_name("kserve_client.py")
LABELS = list(tiny.LABELS)
TEXTS = ["good film", "¿Dónde está mi pedido? 🥾", "awful " * 99]
LONG = "good " * 99


@pytest.fixture(scope="module", autouse=True)
def _no_worker_is_harmed(served: Served) -> Iterator[None]:
    before = served.worker_pids()
    yield
    assert served.worker_pids() == before


@pytest.fixture(scope="module")
def url(served: Served) -> str:
    return served.server.addresses.inference


@pytest.fixture(scope="module")
def key(served: Served) -> str:
    return served.server.key("inference") or ""


def predict(served: Served, *texts: str | Text) -> list[Prediction]:
    """What this process' own pipeline makes of the texts."""
    wanted = [Text(text) if isinstance(text, str) else text for text in texts]
    found = [result for result in served.tiny.pipeline(wanted) if isinstance(result, Prediction)]
    assert len(found) == len(texts)
    return found


def near(value: Any) -> Any:
    return pytest.approx(value, abs=1e-5)


def rows(predictions: list[Prediction], what: str = "probabilities") -> Any:
    """Numbers of all texts one after the other, labels in the model's order."""
    if what == "logits":
        return near([logit for p in predictions for logit in p.logits])
    return near([p.probabilities[label] for p in predictions for label in LABELS])


def best(predictions: list[Prediction]) -> list[str]:
    return [next(iter(prediction.probabilities)) for prediction in predictions]


class TestHuggingFace:
    @pytest.fixture(autouse=True)
    def _online(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Tests download nothing, but what says so keeps this client from calling any server."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    @pytest.fixture(params=["/predictions/tiny", "/invocations?model_name=tiny"])
    def client(self, request: pytest.FixtureRequest, url: str, key: str) -> InferenceClient:
        return InferenceClient(model=f"{url}{request.param}", token=key)

    @pytest.mark.parametrize("text", TEXTS)
    def test_all_labels_by_falling_score(
        self, client: InferenceClient, served: Served, text: str
    ) -> None:
        (prediction,) = predict(served, text)
        found = client.text_classification(text)
        assert [element.label for element in found] == list(prediction.probabilities)
        assert [element.score for element in found] == near(list(prediction.probabilities.values()))

    def test_top_k(self, client: InferenceClient, served: Served) -> None:
        (prediction,) = predict(served, "good film")
        for count in (1, 2):
            found = client.text_classification("good film", top_k=count)
            assert [element.label for element in found] == list(prediction.probabilities)[:count]

    @pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
    def test_function_to_apply(
        self, client: InferenceClient, served: Served, function: Any
    ) -> None:
        (prediction,) = predict(served, Text("good film", activation=function))
        found = client.text_classification("good film", function_to_apply=function)
        scores = {element.label: element.score for element in found}
        assert scores == near(prediction.probabilities)

    def test_an_error_is_raised_with_its_status_and_body(self, client: InferenceClient) -> None:
        with pytest.raises(HfHubHTTPError) as raised:
            client.text_classification(" ")
        assert raised.value.response.status_code == 422
        assert raised.value.response.json()["error"]["code"] == "empty_text"

    def test_a_wrong_token_is_raised_too(self, url: str) -> None:
        with pytest.raises(HfHubHTTPError):
            InferenceClient(model=f"{url}/predictions/tiny", token="wrong").text_classification("a")

    def test_invocations_answer_as_sagemaker_s_containers_do(
        self, served: Served, url: str, key: str
    ) -> None:
        body = {"inputs": ["good film", "awful"], "parameters": {"top_k": None}}
        response = httpx.post(
            f"{url}/invocations",
            params={"model_name": "tiny"},
            json=body,
            headers=bearer(key),
            timeout=PATIENCE,
        )
        assert response.status_code == 200
        found = [{item["label"]: item["score"] for item in scores} for scores in response.json()]
        assert found == [near(p.probabilities) for p in predict(served, "good film", "awful")]


class TestTriton:
    @pytest.fixture
    def infer(self, url: str, key: str) -> Iterator[Callable[..., Any]]:
        client = triton.InferenceServerClient(url.removeprefix("http://"))
        yield lambda *inputs, **more: client.infer("tiny", inputs, headers=bearer(key), **more)
        client.close()

    def tensor(self, *texts: str, name: str = "text", binary: bool = False) -> triton.InferInput:
        tensor = triton.InferInput(name, [len(texts)], "BYTES")
        tensor.set_data_from_numpy(numpy.array(texts, dtype=object), binary_data=binary)
        return tensor

    def test_labels_and_probabilities(self, infer: Any, served: Served) -> None:
        predictions = predict(served, *TEXTS)
        result = infer(self.tensor(*TEXTS))
        assert list(result.as_numpy("label")) == best(predictions)
        probabilities = result.as_numpy("probabilities")
        assert probabilities.shape == (len(TEXTS), len(LABELS))
        assert probabilities.dtype == numpy.float32
        assert probabilities.flatten().tolist() == rows(predictions)
        assert result.get_response()["parameters"]["labels"] == LABELS

    def test_outputs_asked_for_and_an_id(self, infer: Any, served: Served) -> None:
        names = ["logits", "tokens", "truncated"]
        asked = [triton.InferRequestedOutput(name, binary_data=False) for name in names]
        result = infer(
            self.tensor(LONG), outputs=asked, request_id="7", parameters={"max_length": 9}
        )
        predictions = predict(served, Text(LONG, max_length=9))
        assert result.as_numpy("logits").flatten().tolist() == rows(predictions, "logits")
        assert result.as_numpy("tokens").tolist() == [9]
        assert result.as_numpy("truncated").tolist() == [True]
        assert result.as_numpy("label") is None
        assert result.get_response()["id"] == "7"

    def test_pairs(self, infer: Any, served: Served) -> None:
        result = infer(self.tensor("good"), self.tensor("film", name="text_pair"))
        predictions = predict(served, Text("good", "film"))
        assert result.as_numpy("probabilities").flatten().tolist() == rows(predictions)

    def test_an_error_is_raised_with_our_error_object(self, infer: Any) -> None:
        with pytest.raises(InferenceServerException) as raised:
            infer(self.tensor(" "))
        assert raised.value.status() == "422"
        assert raised.value.message()["code"] == "empty_text"

    def test_binary_tensors_are_refused_in_words(self, infer: Any) -> None:
        with pytest.raises(InferenceServerException) as raised:
            infer(self.tensor("good", binary=True))
        assert raised.value.status() in ("400", "415")
        assert raised.value.message()["code"] in ("invalid_json", "unsupported_media_type")


def test_kserve_s_own_client(kserve_python: str, served: Served, url: str, key: str) -> None:
    done = subprocess.run(
        [kserve_python, str(KSERVE_CLIENT), url, "tiny", key, json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    predictions = predict(served, *TEXTS)
    assert answers["v1"] == {"predictions": [near(p.probabilities) for p in predictions]}
    assert answers["v2"]["label"] == best(predictions)
    assert answers["v2"]["probabilities"] == rows(predictions)
    assert (answers["labels"], answers["id"], answers["live"]) == (LABELS, "7", True)
    assert answers["refused"]["status"] == 422
    assert answers["refused"]["error"]["code"] == "empty_text"


class TestCurl:
    def post(self, url: str, key: str, *options: str) -> Any:
        if shutil.which("curl") is None:
            pytest.skip("there is no curl")
        command = ["curl", "--silent", "-H", f"Authorization: Bearer {key}", *options, url]
        done = subprocess.run(command, capture_output=True, check=True, env=dict(os.environ))
        return json.loads(done.stdout)

    @pytest.mark.parametrize(
        "options",
        [
            ("-d", '{"text": "good film"}', "-H", "Content-Type: application/json"),
            ("--json", '{"text": "good film"}'),
            ("-d", "good film", "-H", "Content-Type: text/plain"),
            ("--data-binary", "good film", "-H", "Content-Type:"),
            ("--json", '{"text": "good film"}', "-H", "Transfer-Encoding: chunked"),
        ],
    )
    def test_the_map(self, served: Served, url: str, key: str, options: tuple[str, ...]) -> None:
        (prediction,) = predict(served, "good film")
        answer = self.post(f"{url}/predictions/tiny", key, *options)
        assert answer == near(prediction.probabilities)

    def test_a_body_that_curl_announces_first(self, served: Served, url: str, key: str) -> None:
        texts = ["good " * 200, *["awful"] * 99]
        announced = ("--json", json.dumps({"texts": texts}), "-H", "Expect: 100-continue")
        answer = self.post(f"{url}/predictions/tiny/1.0", key, *announced)
        assert answer == [near(p.probabilities) for p in predict(served, *texts)]

    def test_d_alone_sends_a_form_and_is_told_what_to_send(self, url: str, key: str) -> None:
        answer = self.post(f"{url}/predictions/tiny", key, "-d", "good film")
        assert answer["error"]["code"] == "unsupported_media_type"
        assert "Content-Type: application/json" in answer["error"]["message"]


def encoded(text: bytes | str) -> str:
    """Bytes as protobuf's JSON form has them."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class TestGrpc:
    @pytest.fixture
    def call(self, served: Served, key: str) -> Iterator[Callable[..., Any]]:
        metadata = [("authorization", f"Bearer {key}")]
        with grpc.insecure_channel(served.server.addresses.grpc_inference) as channel:
            yield lambda service, name, message: stubs.method(channel, service, name)(
                message, metadata=metadata, timeout=PATIENCE
            )

    @pytest.mark.parametrize(
        "body",
        [
            {"text": "good film"},
            {"inputs": "good film", "parameters": {"top_k": None}},
            {"instances": ["good film"]},
        ],
        ids=lambda body: next(iter(body)),
    )
    @pytest.mark.parametrize("version", ["", "1.0"])
    def test_predictions_and_streams_take_the_body_of_any_protocol(
        self, call: Any, served: Served, body: dict[str, Any], version: str
    ) -> None:
        data = {"data": encoded(json.dumps(body))}
        request = {"model_name": "tiny", "model_version": version, "input": data}
        alone = call(stubs.INFERENCE, "Predictions", request)
        (streamed,) = call(stubs.INFERENCE, "StreamPredictions", request)
        (prediction,) = predict(served, "good film")
        expected = near(prediction.probabilities)
        for answer in (json.loads(alone.prediction), json.loads(streamed.prediction)):
            if "instances" in body:
                assert answer == {"predictions": [expected]}
            elif "inputs" in body:
                assert {item["label"]: item["score"] for item in answer[0]} == expected
            else:
                assert answer == expected

    @pytest.mark.parametrize(
        ("data", "code"), [(b"", "empty_text"), (b"\xff", "invalid_utf8"), (b"{", "invalid_json")]
    )
    def test_an_error_is_in_the_body(self, call: Any, data: bytes, code: str) -> None:
        request = {"model_name": "tiny", "input": {"data": encoded(data)}}
        alone = call(stubs.INFERENCE, "Predictions", request)
        (streamed,) = call(stubs.INFERENCE, "StreamPredictions", request)
        for answer in (alone, streamed):
            assert json.loads(answer.prediction)["error"]["code"] == code

    def infer(self, call: Any, *texts: bytes | str, **more: Any) -> dict[str, Any]:
        """Outputs by name, of a call with one tensor."""
        contents = {"bytes_contents": [encoded(text) for text in texts]}
        usual = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "contents": contents}
        tensor = {**usual, **more.pop("tensor", {})}
        message = {"model_name": "tiny", "inputs": [tensor], **more}
        answer = call(stubs.OPEN_INFERENCE, "ModelInfer", message)
        assert (answer.model_name, answer.model_version) == ("tiny", "1.0")
        assert answer.id == more.get("id", "")
        return {
            output.name: [json.loads(element) for element in output.contents.bytes_contents]
            or list(output.contents.fp32_contents)
            for output in answer.outputs
        }

    def test_model_infer(self, call: Any, served: Served) -> None:
        predictions = predict(served, *TEXTS)
        outputs = self.infer(call, *TEXTS, id="7")
        assert list(outputs) == ["label", "probabilities", "labels"]
        assert outputs["label"] == best(predictions)
        assert outputs["probabilities"] == rows(predictions)
        assert outputs["labels"] == LABELS

    def test_model_infer_with_pairs(self, call: Any, served: Served) -> None:
        names = {"text": "good", "text_pair": "film"}
        inputs = [
            {"name": name, "datatype": "BYTES", "shape": [1],
             "contents": {"bytes_contents": [encoded(text)]}}
            for name, text in names.items()
        ]  # fmt: skip
        outputs = self.infer(call, inputs=inputs)
        assert outputs["probabilities"] == rows(predict(served, Text("good", "film")))

    def test_a_text_that_is_wrong_leaves_its_neighbours_alone(
        self, call: Any, served: Served
    ) -> None:
        outputs = self.infer(call, "good film", b"\xff", " ")
        (prediction,) = predict(served, "good film")
        assert outputs["label"] == [*best([prediction]), "", ""]
        assert outputs["probabilities"][: len(LABELS)] == rows([prediction])
        assert outputs["error"][0] is None
        codes = [(error["code"], error["index"]) for error in outputs["error"][1:]]
        assert codes == [("invalid_utf8", 1), ("empty_text", 2)]

    @pytest.mark.parametrize(
        ("more", "code"),
        [
            ({"inputs": []}, "missing_text"),
            ({"tensor": {"datatype": "FP32", "contents": {"fp32_contents": [1]}}}, "invalid_value"),
            ({"tensor": {"datatype": "FP16"}}, "invalid_value"),
            ({"tensor": {"shape": []}}, None),
            ({"tensor": {"shape": [2]}}, "invalid_value"),
            ({"tensor": {"contents": {}}, "raw_input_contents": [encoded("a")]}, "invalid_value"),
            ({"tensor": {"name": "input_ids"}}, "unknown_key"),
        ],
        ids=str,
    )
    def test_what_is_wrong_as_a_whole_is_an_output_too(
        self, call: Any, more: dict[str, Any], code: str | None
    ) -> None:
        outputs = self.infer(call, "good film", **more)
        if code is None:  # a tensor without dimensions holds one element
            assert list(outputs) == ["label", "probabilities", "labels"]
        else:
            assert list(outputs) == ["error"]
            assert outputs["error"][0]["code"] == code

    def test_what_torchserve_answers_itself(self, call: Any) -> None:
        assert call(stubs.OPEN_INFERENCE, "ServerLive", {}).live
        assert call(stubs.OPEN_INFERENCE, "ServerReady", {}).ready
        assert call(stubs.OPEN_INFERENCE, "ModelReady", {"name": "tiny"}).ready

    @pytest.mark.parametrize("message", [{}, {"model_name": "none"}])
    def test_a_model_that_is_not_there_is_torchserve_s_own_error(
        self, call: Any, message: dict[str, str]
    ) -> None:
        for service, name in (
            (stubs.INFERENCE, "Predictions"),
            (stubs.OPEN_INFERENCE, "ModelInfer"),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                call(service, name, message)
            assert raised.value.code() == grpc.StatusCode.INTERNAL

    def test_a_message_over_the_size_limit_is_torchserve_s_own_error(self, call: Any) -> None:
        request = {"model_name": "tiny", "input": {"data": encoded(b"a" * 1_100_000)}}
        with pytest.raises(grpc.RpcError) as raised:
            call(stubs.INFERENCE, "Predictions", request)
        # it resets the stream, and whether the client hears why is a matter of time
        codes = (grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert raised.value.code() in codes

    def test_metadata_of_the_model_harms_no_worker(self, served: Served, key: str) -> None:
        # our .proto leaves it out, since TorchServe names neither inputs nor outputs
        metadata = [("authorization", f"Bearer {key}")]
        with grpc.insecure_channel(served.server.addresses.grpc_inference) as channel:
            ask: Any = channel.unary_unary(f"/{stubs.OPEN_INFERENCE}/ModelMetadata")
            answer = ask(b"\n\x04tiny", metadata=metadata, timeout=PATIENCE)  # field 1: the name
        assert answer == b"\n\x04tiny\x12\x031.0"


@pytest.mark.parametrize("text", TEXTS)
def test_probabilities_are_equal_to_the_last_bit_over_every_protocol(
    served: Served, url: str, key: str, text: str
) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        return httpx.post(url + path, json=body, headers=bearer(key), timeout=PATIENCE).json()

    def by_label(scores: list[dict[str, Any]]) -> dict[str, float]:
        return {item["label"]: item["score"] for item in scores}

    tensor = {"name": "text", "datatype": "BYTES", "shape": [1]}
    scores = {"inputs": text, "parameters": {"top_k": None}}
    found = [
        served.post(text.encode(), "text/plain").json(),
        post("/predictions/tiny", {"text": text}),
        post("/predictions/tiny/1.0", {"texts": [text]})[0],
        by_label(post("/predictions/tiny", scores)[0]),
        by_label(post("/invocations?model_name=tiny", scores)),
        post("/v1/models/tiny:predict", {"instances": [text]})["predictions"][0],
    ]
    answer = post("/v2/models/tiny/infer", {"inputs": [{**tensor, "data": [text]}]})
    found.append(dict(zip(LABELS, answer["outputs"][1]["data"], strict=True)))
    metadata = [("authorization", f"Bearer {key}")]
    with grpc.insecure_channel(served.server.addresses.grpc_inference) as channel:
        request = {"model_name": "tiny", "input": {"data": encoded(text)}}
        predict = stubs.method(channel, stubs.INFERENCE, "Predictions")
        found.append(json.loads(predict(request, metadata=metadata).prediction))
        contents = {"bytes_contents": [encoded(text)]}
        message = {"model_name": "tiny", "inputs": [{**tensor, "contents": contents}]}
        infer = stubs.method(channel, stubs.OPEN_INFERENCE, "ModelInfer")
        floats = infer(message, metadata=metadata).outputs[1].contents.fp32_contents
        found.append(dict(zip(LABELS, floats, strict=True)))
    assert set(found[0]) == set(LABELS)
    assert found == [found[0]] * len(found)

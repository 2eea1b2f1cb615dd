"""TorchServe's context as a worker's handler sees it, for tests that need no TorchServe."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from ts.context import Context, RequestProcessor


def rest(
    body: bytes, content_type: str = "application/json", **headers: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Row and headers as TorchServe makes them of `POST /predictions/NAME`."""
    own = {"body": {"content-type": content_type}, "explain": "False", "url_path": ""}
    return {"body": bytearray(body)}, {**own, "Host": "127.0.0.1", **headers}


def grpc(body: bytes, name: str = "data") -> tuple[dict[str, Any], dict[str, Any]]:
    """Row and headers as TorchServe makes them of a gRPC `Predictions` or `StreamPredictions`."""
    return {name: bytearray(body)}, {name: {"content-type": ""}}


def v1_or_v2(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Row and headers as TorchServe makes them of `/v1/models/NAME:predict` and `/v2/…/infer`."""
    row, headers = rest(body)
    del headers["url_path"]
    return row, headers


def invocation(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Row and headers as TorchServe makes them of `POST /invocations`."""
    row, headers = v1_or_v2(body)
    del headers["explain"]
    return row, headers


def open_inference(texts: list[bytes], **tensor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Row and headers as TorchServe makes them of its own gRPC `ModelInfer`."""
    data = [base64.b64encode(text).decode() for text in texts]
    usual = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": data}
    value = {"id": "", "model_name": "tiny", "inputs": [{**usual, **tensor}]}
    return {"body": bytearray(json.dumps(value).encode())}, {
        "body": {"content-type": "application/json"}
    }


def describe() -> tuple[dict[str, Any], dict[str, Any]]:
    """Row and headers as TorchServe makes them of `GET /models/NAME?customized=true`."""
    return {}, {"describe": "True"}


def make_context(archive: Path, gpu_id: int | None = None) -> Any:
    """The context of a worker that serves an unpacked archive."""
    import yaml

    manifest = json.loads((archive / "MAR-INF" / "MANIFEST.json").read_bytes())
    return Context(
        manifest["model"]["modelName"],
        str(archive),
        manifest,
        8,
        gpu_id,
        "0.12.0",
        model_yaml_config=yaml.safe_load((archive / "model-config.yaml").read_text()),
    )


def receive(
    context: Any, rows: list[tuple[dict[str, Any], dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Give the context the headers of a batch, and return its rows."""
    context.request_processor = [RequestProcessor(headers) for _, headers in rows]
    return [row for row, _ in rows]


def answer(
    loaded: tuple[Any, Any], rows: list[tuple[dict[str, Any], dict[str, Any]]]
) -> list[tuple[int, Any]]:
    """Status and JSON value of each row of one batch, from a handler and its context."""
    bert_handler, context = loaded
    sent = bert_handler.handle(receive(context, rows), context)
    assert len(sent) == len(rows)
    assert all(isinstance(body, bytes) for body in sent)
    types = {context.get_response_content_type(index) for index in range(len(rows))}
    assert types == {"application/json"}
    return [
        (context.get_response_status(index)[0], json.loads(body)) for index, body in enumerate(sent)
    ]


def near(value: Any) -> Any:
    """A value to compare answers with, whose numbers may differ in their last digits."""
    if isinstance(value, dict):
        return {key: near(item) for key, item in value.items()}
    if isinstance(value, list):
        return [near(item) for item in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value

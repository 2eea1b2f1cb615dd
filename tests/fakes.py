"""TorchServe's context as a worker's handler sees it, for tests that need no TorchServe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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

"""How TorchServe hands rows over and takes answers back, each of its traps met in one place.

A row of TorchServe is a dict from parameter name to value; its headers are in the context. A client can
send any header, so a row is judged by what a client cannot forge: a row without parameters is TorchServe
asking for a description, a row without any header came over gRPC.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ..errors import RequestError

# TorchServe's own names for the one parameter of a request: over HTTP, and over gRPC or a form
_BODY_PARAMETERS = ("body", "data")
# what TorchServe adds to the row of `/invocations?model_name=…`
_ROUTING_PARAMETERS = frozenset({"model_name"})


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of one request and their media type, in lower case; "" where none was given."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a TorchServe batch: its parameters and its headers."""

    parameters: Mapping[str, Any]
    headers: Mapping[str, Any]

    @property
    def is_describe(self) -> bool:
        """TorchServe asks for `GET /models/NAME?customized=true`."""
        return not self.parameters and self.headers.get("describe") == "True"

    @property
    def is_grpc(self) -> bool:
        """TorchServe forwards the headers of HTTP requests, none of gRPC ones."""
        return not any(isinstance(value, str) for value in self.headers.values())

    @property
    def is_open_inference(self) -> bool:
        """It came over the gRPC of the Open Inference Protocol, whose JSON TorchServe writes itself."""
        return self.is_grpc and self._media_type("body") == "application/json"

    @property
    def is_invocation(self) -> bool:
        """It came to SageMaker's `/invocations`, for which TorchServe adds no header of its own."""
        return not self.is_grpc and not {"url_path", "explain"} & self.headers.keys()

    @property
    def is_explanation(self) -> bool:
        """It came to `/explanations`; at `/invocations` a client can say so itself, and gets one."""
        return self.headers.get("explain") == "True"

    @property
    def is_from_hugging_face(self) -> bool:
        """Hugging Face's own Python client sent it, or somebody who says so."""
        return any(
            name.lower() == "user-agent" and "hf_hub/" in str(value)
            for name, value in self.headers.items()
        )

    def body(self) -> Body:
        """The request's one body; RequestError where the row holds none, or something else."""
        names = [name for name in self.parameters if name not in _ROUTING_PARAMETERS]
        if len(names) != 1 or names[0] not in _BODY_PARAMETERS:
            raise RequestError(
                "unsupported_media_type",
                "the request holds no single body; send JSON with Content-Type: application/json, "
                'or the text itself with Content-Type: text/plain (over gRPC: the bytes as "data")',
            )
        return Body(bytes(self.parameters[names[0]]), self._media_type(names[0]))

    def _media_type(self, name: str) -> str:
        # the parameter's own entry among the headers, unless a client's header of that name hides it
        entry = self.headers.get(name)
        media_type = entry.get("content-type") or "" if isinstance(entry, dict) else ""
        return media_type.lower()


def keep_bodies_raw() -> None:
    """Have TorchServe hand over bodies as bytes.

    Left alone it parses JSON and decodes text itself: a bad body logs a traceback each time, and
    differences between its parser and ours would be invisible here. It looks this variable up anew for
    every request.
    """
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"


def read_rows(rows: Sequence[Mapping[str, Any]], context: Any) -> list[Row]:
    """The rows of a batch with their headers."""
    return [
        Row(parameters, context.get_all_request_header(index))
        for index, parameters in enumerate(rows)
    ]


def send(rows: Sequence[Row], answers: Sequence[tuple[int, bytes]], context: Any) -> list[bytes]:
    """Bytes for TorchServe, one answer a row, with each row's own status and content type.

    Phrases and content types are ASCII on one line: TorchServe counts them in characters and sends them
    as bytes, and a line break in one of them kills the worker.
    """
    for index, (row, (status, _)) in enumerate(zip(rows, answers, strict=True)):
        if status != HTTPStatus.OK:
            context.set_response_status(status, HTTPStatus(status).phrase, index)
        context.set_response_content_type(index, "application/json")
        if row.is_grpc:
            # without it gRPC StreamPredictions kills the worker; with it a REST row is never answered
            context.set_response_header(index, "ts_stream_next", "false")
    return [content for _, content in answers]

"""The Open Inference Protocol, v2, over REST and over TorchServe's gRPC.

    {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [n], "data": ["…", …]}]}
    → {"model_name", "model_version", "outputs": [label BYTES [n], probabilities FP32 [n, labels]],
       "parameters": {"labels": […]}}

TorchServe's gRPC loses `parameters`, the requested outputs and raw contents of a request, and the
`parameters` of an answer. It hands over BYTES as base64, and gives each BYTES element of an answer to the
client as JSON text. An answer that is not whole kills the worker, so an error is an output there too.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

from ..errors import RequestError, overall_status
from ..schemas import (
    INFER,
    INFER_PARAMETERS,
    INPUTS,
    LARGEST_DIMENSION,
    MOST_DIMENSIONS,
    OUTPUTS,
    TENSOR,
)
from ..settings import Settings
from ..values import Prediction, Text
from .body import kind
from .checks import (
    checked_text,
    each,
    long_text,
    mapping,
    positive,
    refuse_too_many,
    refuse_unknown,
    string,
)

_KEYS = frozenset(INFER)
_PARAMETERS = frozenset(INFER_PARAMETERS)
_INPUT_KEYS = frozenset(TENSOR)
_USUAL_OUTPUTS = ("label", "probabilities")
_MATRICES = ("probabilities", "logits")
# what stands where a text failed
_FILL = {"BYTES": "", "FP32": 0.0, "INT32": 0, "BOOL": False}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """`outputs` are the names of the tensors to answer; `is_grpc` tells which way it came."""

    texts: tuple[Text | RequestError, ...]
    id: str | None
    outputs: tuple[str, ...]
    top_k: int | None
    is_grpc: bool

    def answer(
        self, outcomes: Sequence[Prediction | RequestError], description: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """Tensors with a row a text; where a text failed its rows are zeros and `error` says why."""
        errors = [outcome for outcome in outcomes if isinstance(outcome, RequestError)]
        if len(errors) == len(outcomes) and not self.is_grpc:
            index = None if len(outcomes) == 1 else 0
            error = errors[0] if index is None else errors[0].at(index)
            return error.status, error.as_json()
        labels = list(description["labels"])
        outputs = [self._tensor(name, outcomes, labels) for name in self.outputs]
        if errors:
            outputs.append(self._errors(outcomes))
        if self.is_grpc:
            outputs.append(_tensor("labels", "BYTES", [len(labels)], labels))
        return overall_status(outcomes), _whole(self.id, outputs, description, labels)

    def _tensor(
        self, name: str, outcomes: Sequence[Prediction | RequestError], labels: list[str]
    ) -> dict[str, Any]:
        """One output; `top_k` makes its rows the most probable labels instead of all in their order."""
        columns = len(labels) if self.top_k is None else min(self.top_k, len(labels))
        is_matrix = name in _MATRICES or (name == "label" and self.top_k is not None)
        failed = [_FILL[OUTPUTS[name]]] * (columns if is_matrix else 1)
        data: list[Any] = []
        for outcome in outcomes:
            if isinstance(outcome, RequestError):
                data += failed
            else:
                data += self._row(name, outcome, labels)
        shape = [len(outcomes), columns] if is_matrix else [len(outcomes)]
        return _tensor(name, OUTPUTS[name], shape, data)

    def _row(self, name: str, prediction: Prediction, labels: list[str]) -> list[Any]:
        """What one output says of one text."""
        if name in ("tokens", "truncated"):
            return [getattr(prediction, name)]
        if name == "label":
            return list(islice(prediction.probabilities, self.top_k or 1))
        values = prediction.probabilities
        if name == "logits":
            values = dict(zip(labels, prediction.logits, strict=True))
        asked = labels if self.top_k is None else islice(prediction.probabilities, self.top_k)
        return [values[label] for label in asked]

    def _errors(self, outcomes: Sequence[Prediction | RequestError]) -> dict[str, Any]:
        """The error object of each text that failed, as JSON; over gRPC TorchServe makes it JSON."""
        found = [
            outcome.at(index).as_json()["error"] if isinstance(outcome, RequestError) else None
            for index, outcome in enumerate(outcomes)
        ]
        if not self.is_grpc:
            found = [json.dumps(error) if error else "" for error in found]
        return _tensor("error", "BYTES", [len(found)], found)


@dataclass(frozen=True, slots=True)
class RefusedInfer:
    """A gRPC request that is wrong as a whole: an answer whose one output is the error."""

    error: RequestError
    texts: tuple[()] = ()

    def answer(
        self, _: Sequence[Prediction | RequestError], description: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """A whole answer all the same, but for the labels, which TorchServe would not pass on."""
        output = _tensor("error", "BYTES", [1], [self.error.as_json()["error"]])
        return self.error.status, _whole("", [output], description, [])


def read(value: dict[str, Any], settings: Settings, *, is_grpc: bool) -> InferRequest:
    """The request that a body holds; RequestError where it is wrong as a whole."""
    refuse_unknown(value, _KEYS)
    string(value, "model_name")
    string(value, "model_version")
    parameters = mapping(value, "parameters")
    refuse_unknown(parameters, _PARAMETERS, where=" in parameters")
    limits: dict[str, Any] = {
        "max_length": positive(parameters, "max_length"),
        "long_text": long_text(parameters),
    }
    tensors = _read_tensors(value["inputs"], settings, is_grpc=is_grpc)
    items = tensors["text"]
    pairs = tensors.get("text_pair") or [None] * len(items)
    if len(pairs) != len(items):
        raise RequestError(
            "invalid_value",
            f"there are {len(items)} texts and {len(pairs)} text_pairs; send one for each",
        )
    decode = _decode_base64 if is_grpc else _as_it_is

    def read_text(item: tuple[Any, Any]) -> Text:
        text, pair = item
        return Text(
            checked_text(decode(text), "the text", settings),
            None if pair is None else checked_text(decode(pair), '"text_pair"', settings),
            **limits,
        )

    return InferRequest(
        texts=each(zip(items, pairs, strict=True), read_text),
        id=string(value, "id"),
        outputs=_read_outputs(value.get("outputs")),
        top_k=positive(parameters, "top_k"),
        is_grpc=is_grpc,
    )


def _read_tensors(inputs: Any, settings: Settings, *, is_grpc: bool) -> dict[str, list[Any]]:
    """Input name → its elements."""
    if not isinstance(inputs, list):
        raise RequestError("invalid_type", f'"inputs" is {kind(inputs)}; send a list of tensors')
    tensors: dict[str, list[Any]] = {}
    for tensor in inputs:
        name, elements = _read_tensor(tensor, settings, is_grpc=is_grpc)
        if name in tensors:
            raise RequestError("conflicting_keys", f'there are two inputs "{name}"; send one')
        tensors[name] = elements
    if "text" not in tensors:
        raise RequestError("missing_text", 'there is no input "text"; send one of datatype BYTES')
    return tensors


def _read_tensor(tensor: Any, settings: Settings, *, is_grpc: bool) -> tuple[str, list[Any]]:
    if not isinstance(tensor, dict):
        raise RequestError("invalid_type", f"an input is {kind(tensor)}; send an object")
    name = string(tensor, "name")
    if name not in INPUTS:
        raise RequestError(
            "unknown_key",
            f"there is no input {(name or '')[:40]!a}; send {' or '.join(INPUTS)}",
        )
    refuse_unknown(tensor, _INPUT_KEYS, where=f" in input {name}")
    if "binary_data_size" in mapping(tensor, "parameters"):
        raise RequestError(
            "unsupported_media_type", "binary tensors are not supported; send binary_data=False"
        )
    if tensor.get("datatype") != "BYTES":
        raise RequestError("invalid_value", f'the datatype of input "{name}" must be BYTES')
    elements = _flat(tensor.get("data"))
    refuse_too_many(elements, settings)
    shape: Any = tensor.get("shape")
    if not _is_shape(shape):
        raise RequestError(
            "invalid_type", f'input "{name}" has no valid shape; send the number of its texts, [1]'
        )
    if prod(shape) != len(elements):
        hint = "; over gRPC send bytes_contents, raw contents are not supported" if is_grpc else ""
        raise RequestError(
            "invalid_value",
            f'the shape of input "{name}" and its {len(elements)} elements do not agree{hint}',
        )
    if not elements:
        raise RequestError("missing_text", f'input "{name}" is empty; send at least one text')
    return name, elements


def _is_shape(shape: Any) -> bool:
    """Whether it is a short list of sizes; the product of long numbers would take long."""
    return (
        isinstance(shape, list)
        and len(shape) <= MOST_DIMENSIONS
        and all(type(size) is int and 0 <= size <= LARGEST_DIMENSION for size in shape)
    )


def _flat(data: Any) -> list[Any]:
    """The elements of a tensor, which JSON may nest, in row-major order."""
    if not isinstance(data, list):
        raise RequestError("invalid_type", f'"data" is {kind(data)}; send a list of texts')
    elements: list[Any] = data
    while any(isinstance(element, list) for element in elements):
        elements = [
            inner
            for element in elements
            for inner in (element if isinstance(element, list) else [element])
        ]
    return elements


def _read_outputs(outputs: Any) -> tuple[str, ...]:
    """The names of the outputs that are asked for."""
    if outputs is None or outputs == []:
        return _USUAL_OUTPUTS
    if not isinstance(outputs, list):
        raise RequestError("invalid_type", f'"outputs" is {kind(outputs)}; send a list')
    names = [output.get("name") if isinstance(output, dict) else None for output in outputs]
    known = [name for name in names if isinstance(name, str) and name in OUTPUTS]
    if len(known) < len(names):
        raise RequestError(
            "invalid_value", f"there is no such output; there are {', '.join(OUTPUTS)}"
        )
    return tuple(dict.fromkeys(known))


def _decode_base64(element: Any) -> str:
    try:
        return base64.b64decode(element, validate=True).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError("invalid_utf8", "the text is not UTF-8; send it as UTF-8") from None
    except (binascii.Error, TypeError, ValueError):
        raise RequestError(
            "invalid_type", "the text is not base64, as TorchServe makes it"
        ) from None


def _as_it_is(element: Any) -> Any:
    return element


def _tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _whole(
    request_id: str | None,
    outputs: list[dict[str, Any]],
    description: Mapping[str, Any],
    labels: list[str],
) -> dict[str, Any]:
    answer = {
        "model_name": description["model"],
        "model_version": description["version"],
        "parameters": {"labels": labels},
        "outputs": outputs,
    }
    return answer if request_id is None else {"id": request_id, **answer}

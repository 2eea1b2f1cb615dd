"""One version of a served model as an OpenAPI 3.1 document.

    document(client.describe(), url="http://127.0.0.1:8080")

Bodies and their keys are those that the handler reads by, codes of errors and statuses the handler's
own; what TorchServe answers for itself stands beside them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from ..clients import Description
from ..handler.errors import STATUS_OF
from .answers import answers, ref
from .requests import bodies

Schema = dict[str, Any]

# what TorchServe answers for itself: (status, when)
_OF_TORCHSERVE = {
    400: "The token is missing, wrong, or has expired.",
    404: "There is no such model, or no such version of it.",
    405: "Another method than POST.",
    413: "The body is larger than the server's max_request_size; the answer has no body.",
    500: "The model's worker died while it had the request; try again.",
    503: "The model's queue is full, or it has no worker; try again.",
    507: "The model's worker ran out of memory; try again.",
}
_EXPLAINING = ("explanations_paused", "explanations_unsupported")


def document(
    description: Description, *, url: str, is_default: bool = True, has_tokens: bool = True
) -> Schema:
    """The document; `is_default` tells whether it is of the version that URLs without one reach.

    url          where the server listens for inference
    has_tokens   whether callers must show a token
    """
    name = quote(description.model, safe="")
    own = f"{name}/{quote(description.version, safe='')}"
    paths = _native(own) if not is_default else {**_native(name), **_native(own), **_others(name)}
    found: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": description.model,
            "version": description.version,
            "summary": f"{description.architecture}, {len(description.labels)} labels",
            "description": f"Served by bertserve {version('bertserve')}; docs/wire.md says more.",
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"schemas": {**bodies(description), **answers(description)}},
    }
    if has_tokens:
        bearer = {"type": "http", "scheme": "bearer", "description": "The inference token."}
        found["components"]["securitySchemes"] = {"token": bearer}
        found["security"] = [{"token": []}]
    return found


def _native(path: str) -> dict[str, Schema]:
    """The URLs of one model, or of one version of it."""
    several = [ref("Error"), {"type": "array", "items": ref("Error")}]
    return {
        f"/predictions/{path}": _post(
            "Classify texts; also in the protocol of Hugging Face Inference.",
            ["TextRequest", "TextsRequest", "ExplainedTextRequest", "HuggingFaceRequest"],
            ["Answer", "Answers", "Explanation", "HuggingFaceAnswer"],
            failed={"anyOf": several},
            explains=True,
            has_text=True,
        ),
        f"/explanations/{path}": _post(
            "Say which words carried the prediction of a text.",
            ["ExplanationRequest"],
            ["Explanation"],
            explains=True,
            has_text=True,
        ),
    }


def _others(name: str) -> dict[str, Schema]:
    """The URLs that only reach the default version."""
    several = [ref("Error"), {"type": "array", "items": ref("Error")}]
    invocations = _post(
        "Classify texts, as SageMaker's clients do.",
        ["HuggingFaceRequest"],
        ["HuggingFaceAnswer"],
        failed={"anyOf": several},
    )
    invocations["post"]["parameters"] = [
        {"name": "model_name", "in": "query", "required": True, "schema": {"const": name}}
    ]
    explaining = _post(
        "Say which words carried the prediction of a text.",
        ["ExplanationRequest"],
        ["Explanation"],
        explains=True,
    )
    return {
        "/invocations": invocations,
        f"/v1/models/{name}:predict": _post(
            "Classify texts, in KServe's protocol v1.",
            ["KServeRequest"],
            ["KServeAnswer"],
            failed={"anyOf": [ref("Error"), ref("KServeAnswer")]},
        ),
        f"/v1/models/{name}:explain": explaining,
        f"/v2/models/{name}/infer": _post(
            "Classify texts, in the Open Inference Protocol v2.", ["InferRequest"], ["InferAnswer"]
        ),
        f"/v2/models/{name}/explain": explaining,
    }


def _post(
    summary: str,
    requests: list[str],
    found: list[str],
    *,
    failed: Schema | None = None,
    explains: bool = False,
    has_text: bool = False,
) -> Schema:
    content = {"application/json": {"schema": _any_of(requests)}}
    if has_text:
        content["text/plain"] = {"schema": ref("Text")}
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": content},
            "responses": {
                "200": _response(
                    "What was found; an error in the place of a text.", _any_of(found)
                ),
                **_failures(failed or ref("Error"), explains),
            },
        }
    }


def _failures(failed: Schema, explains: bool) -> dict[str, Schema]:
    """Every other status: the codes that the handler answers with it, and when TorchServe does."""
    codes: dict[int, list[str]] = {status: [] for status in _OF_TORCHSERVE}
    for code, status in STATUS_OF.items():
        if explains or code not in _EXPLAINING:
            codes.setdefault(status, []).append(code)
    return {str(status): _failure(status, codes[status], failed) for status in sorted(codes)}


def _failure(status: int, codes: list[str], failed: Schema) -> Schema:
    by_torchserve = _OF_TORCHSERVE.get(status)
    told = [", ".join(codes)] if codes else []
    told += [f"TorchServe itself: {by_torchserve}"] if by_torchserve else []
    schemas = ([failed] if codes else []) + ([ref("TorchServeError")] if by_torchserve else [])
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return _response(". ".join(told), schema)


def _response(meaning: str, schema: Schema) -> Schema:
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}


def _any_of(names: list[str]) -> Schema:
    return ref(names[0]) if len(names) == 1 else {"anyOf": [ref(name) for name in names]}

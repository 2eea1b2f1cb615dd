"""Bodies of every protocol, as JSON Schema, of the keys, words and bounds that the handler reads by."""

from __future__ import annotations

from typing import Any

from ..clients import Description
from ..handler import schemas

Schema = dict[str, Any]
_UNEXPLAINED: Schema = {
    "enum": [False, None],
    "description": "true makes it a request of another kind, of one text alone.",
}


def bodies(description: Description) -> dict[str, Schema]:
    """Schemas of what is sent, by name."""
    item = {"oneOf": [_ref("Text"), _ref("Pair")]} if not description.pairs else _ref("Pair")
    return {
        "Text": {**schemas.TEXT["text"], "examples": ["Where is my parcel?"]},
        "Pair": _object({**schemas.TEXT}, required=_required(description)),
        "TextRequest": _object(
            {**schemas.TEXT, **schemas.OPTIONS, "explain": _UNEXPLAINED},
            required=_required(description),
        ),
        "TextsRequest": _object(
            {
                "texts": _several(description, _ref("Item")),
                **schemas.OPTIONS,
                "explain": _UNEXPLAINED,
            },
            required=["texts"],
        ),
        "Item": item,
        "ExplanationRequest": _object(
            {**schemas.TEXT, **schemas.EXPLANATION}, required=_required(description)
        ),
        "ExplainedTextRequest": _object(
            {**schemas.TEXT, **schemas.EXPLANATION, "explain": {"const": True}},
            required=[*_required(description), "explain"],
        ),
        "HuggingFaceRequest": _object(
            {
                "inputs": {"oneOf": [_ref("Item"), _several(description, _ref("Item"))]},
                "parameters": _nullable(_object(schemas.PARAMETERS)),
                "options": {
                    "type": ["object", "null"],
                    "description": "Those of Hugging Face's own servers; read and without effect.",
                },
            },
            required=["inputs"],
        ),
        "KServeRequest": _object(
            {"instances": _several(description, _ref("Instance"))}, required=["instances"]
        ),
        "Instance": _of_one_text(
            description,
            _object({**schemas.TEXT, **schemas.OPTIONS}, required=_required(description)),
        ),
        "InferRequest": _object(_infer(description), required=["inputs"]),
    }


def _of_one_text(description: Description, found: Schema) -> Schema:
    return found if description.pairs else {"oneOf": [_ref("Text"), found]}


def _required(description: Description) -> list[str]:
    return ["text", "text_pair"] if description.pairs else ["text"]


def _several(description: Description, item: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "maxItems": description.max_texts, "items": item}


def _infer(description: Description) -> dict[str, Schema]:
    tensor = _object(schemas.TENSOR, required=["name", "datatype", "shape", "data"])
    wanted = len(_required(description))
    output = {
        "type": "object",
        "properties": {"name": {"enum": list(schemas.OUTPUTS)}},
        "required": ["name"],
    }
    return {
        **schemas.INFER,
        "parameters": _nullable(_object(schemas.INFER_PARAMETERS)),
        "inputs": {
            **schemas.INFER["inputs"],
            "type": "array",
            "minItems": wanted,
            "maxItems": len(schemas.INPUTS),
            "items": tensor,
        },
        "outputs": {**schemas.INFER["outputs"], "type": ["array", "null"], "items": output},
    }


def _object(properties: dict[str, Schema], required: list[str] | None = None) -> Schema:
    found: Schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**found, "required": required} if required else found


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}

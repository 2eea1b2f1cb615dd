"""Answers of every protocol, and errors, as JSON Schema.

What an answer holds depends on the model: its labels, whether they are independent, its prediction sets.
"""

from __future__ import annotations

from typing import Any

from ..clients import Description
from ..handler import schemas
from ..handler.errors import STATUS_OF

Schema = dict[str, Any]
# of an error, where they help: sizes and what is allowed
_FIELDS = (
    "index", "tokens", "max_tokens", "characters", "max_characters", "texts", "max_texts",
    "bytes", "max_bytes", "max_depth",
)  # fmt: skip
_PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def answers(description: Description) -> dict[str, Schema]:
    """Schemas of what is answered, by name."""
    either = {"anyOf": [ref("Answer"), ref("Error")]}
    ranked = {"oneOf": [ref("Score"), _list(ref("Score"))]}
    return {
        "Label": {"type": "string", "enum": list(description.labels)},
        "Probabilities": _by_label(description, _PROBABILITY, "By falling probability."),
        "Logits": _by_label(description, _NUMBER, "As the model gives them, not calibrated."),
        "Details": _details(description),
        "Answer": {"anyOf": [ref("Probabilities"), ref("Details")]},
        "Answers": _list({"anyOf": [ref("Answer"), ref("Error")]}),
        "Explanation": _explanation(description),
        "Score": _object({"label": ref("Label"), "score": _NUMBER}),
        "HuggingFaceAnswer": {
            "anyOf": [
                _list({"anyOf": [ref("Score"), ref("Error")]}),
                _list({"anyOf": [_list(ref("Score")), ref("Error")]}),
                ranked,
            ]
        },
        "KServeAnswer": _object({"predictions": _list(either)}),
        "InferAnswer": _infer(),
        **errors(),
    }


def errors() -> dict[str, Schema]:
    """Schemas of what is wrong: with a request or text, and what TorchServe itself refuses."""
    told: dict[str, Schema] = {
        "code": {"type": "string", "enum": list(STATUS_OF)},
        "message": {"type": "string", "description": "What is wrong, and what to do."},
    }
    return {
        "Error": _object(
            {"error": _object({**told, **dict.fromkeys(_FIELDS, _COUNT)}, required=[*told])}
        ),
        "TorchServeError": _object(
            {"code": _COUNT, "type": {"type": "string"}, "message": {"type": "string"}}
        ),
    }


def ref(name: str) -> Schema:
    """A schema that stands among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def _details(description: Description) -> Schema:
    independent = description.activation == "sigmoid"
    unsure = independent or description.calibration.get("threshold") is not None
    label = {"anyOf": [ref("Label"), {"type": "null"}]} if unsure else ref("Label")
    found: dict[str, Schema] = {
        "model": {"const": description.model},
        "version": {"const": description.version},
        "label": {**label, "description": "null where no label reaches the archive's threshold."},
        "margin": {**_PROBABILITY, "description": "How near another decision is."},
        "probability": _PROBABILITY,
        "probabilities": ref("Probabilities"),
        "calibrated": {"type": "boolean"},
        "entropy": {**_PROBABILITY, "description": "0 for one certain label, 1 for all alike."},
        "tokens": _COUNT,
        "truncated": {"type": "boolean"},
        "chunks": {"type": "integer", "minimum": 1},
        "logits": ref("Logits"),
    }
    required = list(found)
    if independent:
        found["labels"] = {**_list(ref("Label")), "description": "Those that reach their levels."}
        required.append("labels")
    if description.calibration.get("sets"):  # not where a request asks for no calibration
        found["set"] = _list(ref("Label"))
        found["set_coverage"] = _PROBABILITY
    return _object(found, required)


def _explanation(description: Description) -> Schema:
    word: dict[str, Schema] = {
        "word": {"type": "string"},
        "start": {**_COUNT, "description": "Its first character in the text."},
        "end": _COUNT,
        "attribution": {**_NUMBER, "description": "What it adds to the label's logit."},
        "of": {"enum": list(schemas.TEXT)},
    }
    return _object(
        {
            "model": {"const": description.model},
            "version": {"const": description.version},
            "label": ref("Label"),
            "probability": _PROBABILITY,
            "logit": _NUMBER,
            "baseline_logit": _NUMBER,
            "completeness_gap": _NUMBER,
            "tokens": _COUNT,
            "truncated": {"type": "boolean"},
            "words": _list(_object(word, required=["word", "start", "end", "attribution"])),
        }
    )


def _infer() -> Schema:
    names = [*schemas.OUTPUTS, "error"]
    tensor = _object(
        {
            "name": {"enum": names},
            "datatype": {"enum": sorted({*schemas.OUTPUTS.values()})},
            "shape": _list(_COUNT),
            "data": _list({"type": ["string", "number", "boolean"]}),
        }
    )
    found: dict[str, Schema] = {
        "id": {"type": "string"},
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "parameters": _object({"labels": _list(ref("Label"))}),
        "outputs": _list(tensor),
    }
    return _object(found, required=[name for name in found if name != "id"])


def _by_label(description: Description, value: Schema, meaning: str) -> Schema:
    return {
        **_object(dict.fromkeys(description.labels, value), required=[]),
        "minProperties": 1,
        "description": meaning,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Schema], required: list[str] | None = None) -> Schema:
    """An object with these keys alone, and all of them unless `required` names fewer."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }

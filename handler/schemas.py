"""What bodies may hold, as JSON Schema: the readers take their keys, words and bounds from here, and
`bertserve openapi` shows the same to callers.

A key that may be left out may be null as well. What a schema cannot say is said in its description.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .values import LONG_TEXTS

Schema = dict[str, Any]
# by key
Schemas = dict[str, Schema]

LARGEST_NUMBER = 2**31 - 1
LONGEST_STRING = 1_000


def _text(meaning: str) -> Schema:
    return {"type": "string", "minLength": 1, "description": meaning}


def _positive(meaning: str) -> Schema:
    bounds = {"minimum": 1, "maximum": LARGEST_NUMBER}
    return {"type": ["integer", "null"], **bounds, "description": meaning}


def _boolean(meaning: str) -> Schema:
    return {"type": ["boolean", "null"], "description": meaning}


def _choice(words: Sequence[str], meaning: str) -> Schema:
    return {"type": ["string", "null"], "enum": [*words, None], "description": meaning}


def _string(meaning: str) -> Schema:
    return {"type": ["string", "null"], "maxLength": LONGEST_STRING, "description": meaning}


TEXT: Schemas = {
    "text": _text("The text; not of white space alone."),
    "text_pair": {
        **_text("Its second text, for models that were trained on pairs."),
        "type": ["string", "null"],
    },
}
_TOP_K = _positive("How many of the most probable labels to answer; all if left out.")
_MAX_LENGTH = _positive("Tokens to read, special ones included; as many as the model reads.")
_LONG_TEXT = _choice(LONG_TEXTS, "What happens to a longer text; as packaged if left out.")
_TRUNCATE = _boolean('false is the same as "long_text": "error"; give one of the two.')

# the native protocol
OPTIONS: Schemas = {
    "top_k": _TOP_K,
    "max_length": _MAX_LENGTH,
    "long_text": _LONG_TEXT,
    "truncate": _TRUNCATE,
    "calibrated": _boolean("false answers the model's own probabilities, without calibration."),
    "details": _boolean("true answers more than the map: decision, tokens, logits and others."),
}
EXPLANATION: Schemas = {
    "label": _string("The label to explain; the predicted one if left out."),
    "max_length": _MAX_LENGTH,
    "truncate": _boolean("false makes a text that is too long an error; else it is cut."),
    "explain": {"enum": [True, None], "description": "Asks which words carried the prediction."},
}

# Hugging Face Inference and SageMaker
ACTIVATIONS = ("softmax", "sigmoid", "none")
PARAMETERS: Schemas = {
    "top_k": _TOP_K,
    "function_to_apply": _choice(ACTIVATIONS, "In place of the model's own."),
    "truncation": _boolean("false makes a text that is too long an error."),
    "max_length": _MAX_LENGTH,
}

# the Open Inference Protocol: inputs, and outputs by their datatype
INPUTS = ("text", "text_pair")
OUTPUTS = {
    "label": "BYTES",
    "probabilities": "FP32",
    "logits": "FP32",
    "tokens": "INT32",
    "truncated": "BOOL",
}
MOST_DIMENSIONS = 8
LARGEST_DIMENSION = 2**31 - 1
INFER_PARAMETERS: Schemas = {
    "top_k": _TOP_K,
    "max_length": _MAX_LENGTH,
    "long_text": _LONG_TEXT,
    "truncate": _TRUNCATE,
    # tritonclient says so where it could read binary outputs; it reads JSON as well
    "binary_data_output": {"description": "Read and without effect: outputs are JSON."},
}
TENSOR: Schemas = {
    "name": {"enum": list(INPUTS), "description": "Which input it is."},
    "datatype": {"const": "BYTES"},
    "shape": {
        "type": "array",
        "maxItems": MOST_DIMENSIONS,
        "items": {"type": "integer", "minimum": 0, "maximum": LARGEST_DIMENSION},
        "description": "[number of texts].",
    },
    "data": {
        "type": "array",
        "minItems": 1,
        "items": _text("A text."),
        "description": "As many texts as `shape` says.",
    },
    "parameters": {
        "type": ["object", "null"],
        "properties": {"binary_data_size": False},
        "description": "Without effect; binary data is refused.",
    },
}
INFER: Schemas = {
    "id": _string("Answered as it is."),
    "model_name": _string("Without effect; the URL names the model."),
    "model_version": _string("Without effect; the default version answers."),
    "parameters": {"description": "How texts are read and answered."},
    "inputs": {"description": "One tensor of texts, and for pairs one of second texts."},
    "outputs": {"description": "What to answer; label and probabilities if left out."},
}

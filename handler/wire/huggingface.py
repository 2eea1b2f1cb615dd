"""The protocol of Hugging Face Inference and of SageMaker.

    {"inputs": "…" | {"text": "…", "text_pair": "…"} | [those, …], "parameters": {…}}

`parameters` are `top_k`, `function_to_apply`, `truncation` and `max_length`. Answers have the shape that
transformers' pipeline gives, `pipe(inputs, **parameters)`, with one exception: Hugging Face's own client
always sends one text with `parameters` and takes the first of a list of lists, as its Inference API
answers. SageMaker's clients send the same body, to /invocations, and expect the pipeline's shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..errors import RequestError, overall_status
from ..schemas import ACTIVATIONS, PARAMETERS
from ..settings import Settings
from ..values import Prediction, Text
from .checks import checked_list, choice, each, long_text, mapping, positive, refuse_unknown
from .native import read_item

# Hugging Face's options, wait_for_model and use_cache, have nothing to do here and do no harm
_KEYS = frozenset({"inputs", "parameters", "options"})
_PARAMETERS = frozenset(PARAMETERS)


@dataclass(frozen=True, slots=True)
class PipelineRequest:
    """`inputs` is what stood there: a `str`, a `dict` for one pair, or a `list`.

    `best_only` answers the most probable label of a text alone, as the pipeline does without `top_k`;
    `nested` answers a single text by a list of lists.
    """

    texts: tuple[Text | RequestError, ...]
    inputs: type
    top_k: int | None
    best_only: bool
    nested: bool

    def answer(
        self, outcomes: Sequence[Prediction | RequestError], _: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """Labels with their scores, by falling score."""
        status = overall_status(outcomes)
        if self.inputs is list:
            return status, [
                outcome.at(index).as_json()
                if isinstance(outcome, RequestError)
                else self._show(outcome)
                for index, outcome in enumerate(outcomes)
            ]
        (outcome,) = outcomes
        if isinstance(outcome, RequestError):
            return status, outcome.as_json()
        shown = self._show(outcome)
        is_wrapped = self.nested or (self.best_only and self.inputs is str)
        return status, [shown] if is_wrapped else shown

    def _show(self, outcome: Prediction) -> Any:
        ranked = islice(outcome.probabilities.items(), self.top_k)
        scores = [{"label": label, "score": score} for label, score in ranked]
        return scores[0] if self.best_only else scores


def read(value: dict[str, Any], settings: Settings, *, is_sagemaker: bool) -> PipelineRequest:
    """The request that a body holds; RequestError where it is wrong as a whole.

    `is_sagemaker` tells SageMaker's clients, at `/invocations`, from the others.
    """
    refuse_unknown(value, _KEYS)
    mapping(value, "options")
    parameters = mapping(value, "parameters")
    refuse_unknown(parameters, _PARAMETERS, where=" in parameters")
    limits = {
        "max_length": positive(parameters, "max_length"),
        "long_text": long_text(parameters, "truncation"),
        "activation": choice(parameters, "function_to_apply", ACTIVATIONS),
    }
    inputs = value["inputs"]
    items = checked_list(inputs, "inputs", settings) if isinstance(inputs, list) else [inputs]
    nested = isinstance(inputs, str) and value.get("parameters") is not None and not is_sagemaker
    return PipelineRequest(
        texts=each(items, lambda item: read_item(item, settings, limits)),
        inputs=type(inputs),
        top_k=positive(parameters, "top_k"),
        best_only="top_k" not in parameters and not nested,
        nested=nested,
    )

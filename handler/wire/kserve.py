"""KServe's protocol v1.

{"instances": [text or native object, …]}    → {"predictions": [map, …]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import RequestError, overall_status
from ..settings import Settings
from ..values import Prediction, Text
from .body import kind
from .checks import checked_list, refuse_unknown
from .native import NativeRequest, read_single


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """Each instance is a native request of its own, with its own options."""

    instances: tuple[NativeRequest, ...]

    @property
    def texts(self) -> tuple[Text | RequestError, ...]:
        """One text an instance."""
        return tuple(instance.texts[0] for instance in self.instances)

    def answer(
        self, outcomes: Sequence[Prediction | RequestError], description: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """One map an instance; an error stands in the place of one that failed."""
        predictions = [
            outcome.at(index).as_json()
            if isinstance(outcome, RequestError)
            else instance.show(outcome, description)
            for index, (instance, outcome) in enumerate(zip(self.instances, outcomes, strict=True))
        ]
        return overall_status(outcomes), {"predictions": predictions}


def read(value: dict[str, Any], settings: Settings) -> PredictRequest:
    """The request that a body holds; RequestError where it is wrong as a whole."""
    refuse_unknown(value, frozenset({"instances"}))
    instances = checked_list(value["instances"], "instances", settings)
    return PredictRequest(tuple(_read_instance(instance, settings) for instance in instances))


def _read_instance(instance: Any, settings: Settings) -> NativeRequest:
    try:
        if isinstance(instance, str):
            return read_single({"text": instance}, settings)
        if not isinstance(instance, dict):
            raise RequestError(
                "invalid_type",
                f'the instance is {kind(instance)}; send a string, or {{"text": "…"}}',
            )
        return read_single(instance, settings)
    except RequestError as error:
        return NativeRequest((error,), single=True)

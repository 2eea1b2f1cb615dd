"""The native protocol.

    the text itself, as text/plain                       → map
    {"text": "…", "text_pair": "…"}                      → map
    {"texts": ["…", {"text": "…", "text_pair": "…"}]}    → [map, map]

Options beside `text` and `texts`: `top_k`, `max_length`, `long_text` or `truncate`, `calibrated` and
`details`. An optional key may be null, which is the same as leaving it out. `"explain": true`
makes it a request of another kind, see `explaining`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..errors import RequestError, overall_status
from ..schemas import OPTIONS, TEXT
from ..settings import Settings
from ..values import Decision, Prediction, Text
from .body import kind
from .checks import boolean, checked_list, checked_text, each, long_text, positive, refuse_unknown

_TEXT_KEYS = frozenset(TEXT)
_SINGLE_KEYS = _TEXT_KEYS | OPTIONS.keys()
_KEYS = _SINGLE_KEYS | {"texts", "explain"}


@dataclass(frozen=True, slots=True)
class NativeRequest:
    """`single` tells `{"text": …}` (answered by one map) from `{"texts": […]}` (answered by a list)."""

    texts: tuple[Text | RequestError, ...]
    single: bool
    top_k: int | None = None
    details: bool = False

    def answer(
        self, outcomes: Sequence[Prediction | RequestError], description: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """A map, or a list of maps; an error stands in the place of a text that failed."""
        if self.single:
            return overall_status(outcomes), self.show(outcomes[0], description)
        return overall_status(outcomes), [
            self.show(
                outcome.at(index) if isinstance(outcome, RequestError) else outcome, description
            )
            for index, outcome in enumerate(outcomes)
        ]

    def show(
        self, outcome: Prediction | RequestError, description: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The answer of one text."""
        if isinstance(outcome, RequestError):
            return outcome.as_json()
        probabilities = outcome.probabilities
        if self.top_k is not None:
            probabilities = dict(islice(probabilities.items(), self.top_k))
        if not self.details:
            return probabilities
        logits = dict(zip(description["labels"], outcome.logits, strict=True))
        return {
            "model": description["model"],
            "version": description["version"],
            **_show_decision(outcome.decision),
            "probability": outcome.probabilities[
                outcome.decision.label or next(iter(outcome.probabilities))
            ],
            "probabilities": probabilities,
            "calibrated": outcome.calibrated,
            "entropy": outcome.entropy,
            "tokens": outcome.tokens,
            "truncated": outcome.truncated,
            "chunks": outcome.chunks,
            "logits": {label: logits[label] for label in probabilities},
        }


def _show_decision(decision: Decision) -> dict[str, Any]:
    shown: dict[str, Any] = {"label": decision.label, "margin": decision.margin}
    if decision.labels is not None:
        shown["labels"] = decision.labels
    if decision.chosen is not None:
        shown |= {"set": decision.chosen, "set_coverage": decision.coverage}
    return shown


def read(value: str | dict[str, Any], settings: Settings) -> NativeRequest:
    """The request that a body holds; RequestError where it is wrong as a whole."""
    if isinstance(value, str):
        return NativeRequest((Text(checked_text(value, "the text", settings)),), single=True)
    refuse_unknown(value, _KEYS)
    if value.get("texts") is None:
        single = {key: item for key, item in value.items() if key not in ("texts", "explain")}
        return read_single(single, settings)
    if clash := sorted(key for key in _TEXT_KEYS if value.get(key) is not None):
        raise RequestError(
            "conflicting_keys",
            f'the body holds both "texts" and "{clash[0]}"; send one of them',
        )
    limits, shape = _limits(value), _shape(value)
    items = checked_list(value["texts"], "texts", settings)
    texts = each(items, lambda item: read_item(item, settings, limits))
    return NativeRequest(texts, single=False, **shape)


def read_single(value: dict[str, Any], settings: Settings) -> NativeRequest:
    """The request of an object with one text, options included."""
    refuse_unknown(value, _SINGLE_KEYS)
    limits, shape = _limits(value), _shape(value)
    return NativeRequest((read_text(value, settings, limits),), single=True, **shape)


def read_text(value: dict[str, Any], settings: Settings, limits: Mapping[str, Any]) -> Text:
    """The text of an object with `text` and perhaps `text_pair`."""
    if value.get("text") is None:
        raise RequestError("missing_text", 'there is no "text"; send {"text": "…"}')
    pair = value.get("text_pair")
    return Text(
        checked_text(value["text"], '"text"', settings),
        None if pair is None else checked_text(pair, '"text_pair"', settings),
        **limits,
    )


def read_item(item: Any, settings: Settings, limits: Mapping[str, Any]) -> Text:
    """One of several texts: a string, or an object with `text` and perhaps `text_pair`."""
    if isinstance(item, str):
        return Text(checked_text(item, "the text", settings), **limits)
    if not isinstance(item, dict):
        raise RequestError(
            "invalid_type",
            f'the text is {kind(item)}; send a string, or {{"text": "…", "text_pair": "…"}}',
        )
    refuse_unknown(item, _TEXT_KEYS)
    return read_text(item, settings, limits)


def _limits(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "max_length": positive(value, "max_length"),
        "long_text": long_text(value),
        "calibrated": boolean(value, "calibrated", default=True),
    }


def _shape(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "top_k": positive(value, "top_k"),
        "details": boolean(value, "details", default=False),
    }

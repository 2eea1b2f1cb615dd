"""Explanations, in the native protocol.

    the text itself, at /explanations/NAME                                             → explanation
    {"text": "…", "text_pair": "…", "label": "…", "max_length": n, "truncate": true}   → explanation

The same body with `"explain": true` asks for it at any other URL of the native protocol, and over gRPC,
which has no call for explanations. All but `text` may be left out; the label is the predicted one then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import RequestError
from ..schemas import EXPLANATION, TEXT
from ..settings import Settings
from ..values import Explain, Prediction, Text
from .checks import boolean, checked_text, positive, refuse_unknown, string
from .native import read_text

_KEYS = frozenset(TEXT) | EXPLANATION.keys()
_OF_SEVERAL = ("texts", "inputs", "instances")


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """One text whose prediction is to be explained."""

    texts: tuple[Text]

    def answer(
        self, outcomes: Sequence[Prediction | RequestError], description: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """Who answered, the label, and the words in the order of the text."""
        (outcome,) = outcomes
        if isinstance(outcome, RequestError):
            return outcome.status, outcome.as_json()
        explanation = outcome.explanation
        assert explanation is not None
        is_pair = self.texts[0].text_pair is not None
        words = [asdict(word) for word in explanation.words]
        if not is_pair:
            for word in words:
                del word["of"]
        return 200, {
            "model": description["model"],
            "version": description["version"],
            "label": explanation.label,
            "probability": outcome.probabilities[explanation.label],
            "logit": explanation.logit,
            "baseline_logit": explanation.baseline_logit,
            "completeness_gap": explanation.completeness_gap,
            "tokens": outcome.tokens,
            "truncated": outcome.truncated,
            "words": words,
        }


def read(value: str | dict[str, Any], settings: Settings) -> ExplainRequest:
    """The request that a body holds; RequestError where it is wrong as a whole."""
    if isinstance(value, str):
        text = checked_text(value, "the text", settings)
        return ExplainRequest((Text(text, long_text="truncate", explain=Explain()),))
    if several := [key for key in _OF_SEVERAL if key in value]:
        raise RequestError(
            "unknown_key",
            f'an explanation is of one text, and the body holds "{several[0]}"; '
            'send {"text": "…"}, a request for each',
        )
    refuse_unknown(value, _KEYS, where=" of an explanation")
    if not boolean(value, "explain", default=True):
        raise RequestError(
            "conflicting_keys",
            '"explain" is false where explanations are answered; send the text to /predictions',
        )
    limits = {
        "max_length": positive(value, "max_length"),
        # one piece of a text is explained, so chunks are not
        "long_text": "truncate" if boolean(value, "truncate", default=True) else "error",
        "explain": Explain(string(value, "label")),
    }
    return ExplainRequest((read_text(value, settings, limits),))

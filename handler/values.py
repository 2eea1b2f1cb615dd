"""The values that are carried from room to room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import RequestError


@dataclass(frozen=True, slots=True)
class Text:
    """One text to classify, alone or with its pair, and how long it may be.

    `max_length` counts tokens, special ones included; None stands for the longest that the model
    reads. A text that is longer is cut where `truncate` is true and an error where it is false.
    `activation` is `softmax`, `sigmoid` or `none`, in place of the model's own, of logits as they are.
    `calibrated` False leaves out the archive's calibration.
    """

    text: str
    text_pair: str | None = None
    max_length: int | None = None
    truncate: bool = True
    activation: str | None = None
    calibrated: bool = True


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text as the model reads it: token ids, special tokens included."""

    input_ids: list[int]
    token_type_ids: list[int]
    truncated: bool
    activation: str | None = None
    calibrated: bool = True


@dataclass(frozen=True, slots=True)
class Prediction:
    """One text's answer; both maps go from label to number, by falling probability.

    Logits are the model's, probabilities those of calibrated logits where `calibrated` says so.
    `confidence` is the model's own highest probability, whatever function the caller asked for.
    `entropy` is that of the model's own probabilities as a share of the highest that it could be, from 0
    where one label is certain to 1 where all are alike; where labels are independent it is their mean.
    """

    probabilities: dict[str, float]
    logits: dict[str, float]
    tokens: int
    truncated: bool
    confidence: float
    entropy: float
    calibrated: bool


class Request(Protocol):
    """One request, whichever protocol it came in: its texts in order, and how it is answered."""

    @property
    def texts(self) -> tuple[Text | RequestError, ...]:
        """The texts; an error stands in the place of one that is wrong."""

    def answer(
        self, outcomes: Sequence[Prediction | RequestError], description: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """HTTP status and JSON value, from the outcome of each text and what is loaded."""

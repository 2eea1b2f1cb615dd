"""The values that are carried from room to room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import RequestError

# a text that is longer than allowed is cut, is an error, or is classified in overlapping chunks
LONG_TEXTS = ("truncate", "error", "chunks")


@dataclass(frozen=True, slots=True)
class Explain:
    """That a prediction is to be explained: for a label, or where it is None for the predicted one."""

    label: str | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """One text to classify, alone or with its pair, and how long it may be.

    `max_length` counts tokens, special ones included; None stands for the longest that the model
    reads. `long_text` says what happens to a text that is longer, see LONG_TEXTS; None stands for what
    the archive says.
    `activation` is `softmax`, `sigmoid` or `none`, in place of the model's own, of logits as they are.
    `calibrated` False leaves out the archive's calibration. `explain` asks which words carried it.
    """

    text: str
    text_pair: str | None = None
    max_length: int | None = None
    long_text: str | None = None
    activation: str | None = None
    calibrated: bool = True
    explain: Explain | None = None


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text as the model reads it: token ids, special tokens included.

    `further` are the chunks of a long text after the first.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    truncated: bool
    activation: str | None = None
    calibrated: bool = True
    further: tuple[Encoding, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to act on.

    label     the most probable label; None where it does not reach the level that the archive asks for;
              where labels are independent the most probable of those that reach their level
    margin    how far the decision is from another one: the most probable label from the next, or where
              labels are independent the label that is nearest to its level from that
    labels    where labels are independent, those that reach their level
    chosen    the prediction set: labels among which the right one is with probability `coverage`
    """

    label: str | None
    margin: float
    labels: list[str] | None = None
    chosen: list[str] | None = None
    coverage: float | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text, its characters from `start` to `end`, and what it adds to a label's logit.

    `of` is `text` or `text_pair`.
    """

    word: str
    start: int
    end: int
    attribution: float
    of: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which words carried a prediction, for one label.

    `logit` is the label's, `baseline_logit` that of a text of padding alone. The attributions of the
    words, in the order of the text, sum to their difference, but for `completeness_gap`.
    """

    label: str
    logit: float
    baseline_logit: float
    completeness_gap: float
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One text's answer.

    `probabilities` go from label to number, by falling probability; they are of calibrated logits where
    `calibrated` says so. `logits` are the model's, in the order of its labels.
    `confidence` is the model's own highest probability, whatever function the caller asked for.
    `entropy` is that of the model's own probabilities as a share of the highest that it could be, from 0
    where one label is certain to 1 where all are alike; where labels are independent it is their mean.
    `tokens` are those that the model read, in `chunks` pieces; where these overlap some are read twice.
    """

    probabilities: dict[str, float]
    logits: Sequence[float]
    tokens: int
    truncated: bool
    confidence: float
    entropy: float
    decision: Decision
    calibrated: bool = False
    chunks: int = 1
    explanation: Explanation | None = None


class Request(Protocol):
    """One request, whichever protocol it came in: its texts in order, and how it is answered."""

    @property
    def texts(self) -> tuple[Text | RequestError, ...]:
        """The texts; an error stands in the place of one that is wrong."""

    def answer(
        self, outcomes: Sequence[Prediction | RequestError], description: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """HTTP status and JSON value, from the outcome of each text and what is loaded."""

"""The values that are carried from room to room."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import RequestError


@dataclass(frozen=True, slots=True)
class Text:
    """One text to classify, alone or with its pair, and how long it may be.

    `max_length` counts tokens, special ones included; None stands for the longest that the model
    reads. A text that is longer is cut where `truncate` is true and an error where it is false.
    """

    text: str
    text_pair: str | None = None
    max_length: int | None = None
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its texts in order, and how it wants to be answered.

    `single` tells `{"text": …}` (answered by one map) from `{"texts": […]}` (answered by a list).
    """

    texts: tuple[Text | RequestError, ...]
    single: bool
    top_k: int | None = None
    details: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    """TorchServe asks what is loaded, for `GET /models/NAME?customized=true`."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text as the model reads it: token ids, special tokens included."""

    input_ids: list[int]
    token_type_ids: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """One text's answer; both maps go from label to number, by falling probability."""

    probabilities: dict[str, float]
    logits: dict[str, float]
    tokens: int
    truncated: bool

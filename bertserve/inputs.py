"""What is classified: a text, or a pair of texts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Two texts that are classified together, for a model that was trained on pairs."""

    text: str
    text_pair: str


Input = str | Pair

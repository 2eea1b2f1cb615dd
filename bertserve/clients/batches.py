"""Texts of any source, in batches that are not too large for a request."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Any

from ..inputs import Input

TEXTS_PER_REQUEST = 32
CHARACTERS_PER_REQUEST = 100_000


class Batches:
    """Collects texts; `rest` is the batch that is not complete yet."""

    def __init__(self) -> None:
        self.rest: list[Input] = []
        self._characters = 0

    def add(self, text: Input) -> Iterator[list[Input]]:
        """The batch that is complete before this text, if one is."""
        size = _size(text)
        is_full = len(self.rest) == TEXTS_PER_REQUEST
        if is_full or (self.rest and self._characters + size > CHARACTERS_PER_REQUEST):
            yield self.rest
            self.rest, self._characters = [], 0
        self.rest.append(text)
        self._characters += size


class Source:
    """Where texts come from, blocking or asynchronous.

    If it fails it ends, so that what it gave before is classified; `raise_failure` tells of it then.
    """

    def __init__(self, texts: Any) -> None:
        self._texts = texts
        self._failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[Input]:
        try:
            if isinstance(self._texts, AsyncIterable):
                async for text in self._texts:
                    yield text
            else:
                for text in self._texts:
                    yield text
        except Exception as error:
            self._failure = error

    def raise_failure(self) -> None:
        """Raise what the source failed with, if it did."""
        if self._failure is not None:
            raise self._failure


def _size(text: Input) -> int:
    if not isinstance(text, Input):
        raise TypeError(f"a text is a str or a Pair, not a {type(text).__name__}")
    return len(text) if isinstance(text, str) else len(text.text) + len(text.text_pair)

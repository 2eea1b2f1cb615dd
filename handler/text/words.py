"""Pieces of a tokenizer become the words of the caller's text, each with where it stands there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..values import Text, Word

# scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Kana, Han
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One token: which of the two texts it is of, its word there, and its characters, start to end.

    `of` is None for a special token of the tokenizer's own, which is of no text. `word` is the
    tokenizer's number of the word.
    """

    of: str | None
    word: int | None = None
    start: int = 0
    end: int = 0


def to_words(pieces: Sequence[Piece], values: Sequence[float], text: Text) -> tuple[Word, ...]:
    """The words that pieces make, in the order of the text; the values of a word's pieces are added.

    Pieces of no text are left out, and spaces that are pieces belong to the word behind them. A word of
    the tokenizer's that holds spaces is several words, and where a script has none each piece is one.
    """
    texts = {"text": text.text, "text_pair": text.text_pair or ""}
    found: list[Word] = []
    before: Piece | None = None
    for piece, value in zip(pieces, values, strict=True):
        if piece.of is None:
            before = None
        elif before is not None and _goes_on(texts[piece.of], found[-1], before, piece):
            last = found[-1]
            start, end = min(last.start, piece.start), max(last.end, piece.end)
            found[-1] = replace(last, start=start, end=end, attribution=last.attribution + value)
            before = piece
        else:
            found.append(Word("", piece.start, piece.end, value, piece.of))
            before = piece
    return tuple(_trimmed(word, texts[word.of]) for word in found)


def _goes_on(text: str, word: Word, before: Piece, piece: Piece) -> bool:
    """Whether a piece belongs to the word that ends with the piece before it."""
    if before.of != piece.of:
        return False
    if before.start < piece.end and piece.start < before.end:
        return True  # both are of one character, as bytes of an emoji are
    if not text[word.start : word.end].strip():
        return True  # the word has nothing but spaces yet
    if before.word != piece.word:
        return False
    if any(character.isspace() for character in text[before.end : piece.start + 1]):
        return False
    return not _WITHOUT_SPACES.match(text, piece.start)


def _trimmed(word: Word, text: str) -> Word:
    """Without the spaces around it, unless it is nothing else."""
    found = text[word.start : word.end]
    if stripped := found.strip():
        start = word.start + found.index(stripped)
        return replace(word, word=stripped, start=start, end=start + len(stripped))
    return replace(word, word=found)

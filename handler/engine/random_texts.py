"""Random texts as a tokenizer would give them, to try a model with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..values import Encoding


@dataclass(frozen=True, slots=True)
class RandomTexts:
    """A tokenizer's own tokens stand where it puts them, random others of its vocabulary between them.

    Some models need their own: BART answers at its end token, and fails on a text that has none or two.
    Tokens are pairs of an id and the number of the text that it is of (its token type).
    """

    vocabulary: Sequence[int]
    before: Sequence[tuple[int, int]] = ()
    after: Sequence[tuple[int, int]] = ()
    token_type: int = 0

    @classmethod
    def of(cls, tokenizer: Any) -> RandomTexts:
        """Those of a Hugging Face fast tokenizer."""
        ids = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=True).values()
        vocabulary = sorted(set(ids) - set(tokenizer.all_special_ids)) or sorted(ids)
        encoding = tokenizer.backend_tokenizer.encode("a")
        tokens = list(zip(encoding.ids, encoding.type_ids, strict=True))
        words = [n for n, special in enumerate(encoding.special_tokens_mask) if not special]
        if not words:
            return cls(vocabulary)
        first, last = words[0], words[-1]
        return cls(vocabulary, tokens[:first], tokens[last + 1 :], tokens[first][1])

    @property
    def shortest(self) -> int:
        """Tokens of the shortest one."""
        return len(self.before) + 1 + len(self.after)

    def __call__(self, length: int, generator: torch.Generator) -> Encoding:
        """So many tokens, or as many as the shortest has."""
        places = max(1, length - len(self.before) - len(self.after))
        chosen = torch.randint(len(self.vocabulary), (places,), generator=generator).tolist()
        words = [(self.vocabulary[number], self.token_type) for number in chosen]
        ids, types = zip(*self.before, *words, *self.after, strict=True)
        return Encoding(list(ids), list(types), truncated=False)

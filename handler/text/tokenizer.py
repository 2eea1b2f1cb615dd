"""Texts become token ids; a text that is too long is noticed, never cut in silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..errors import LoadError, RequestError
from ..values import Encoding, Text
from .words import Piece

# a tokenizer takes about 100 bytes a character while it works, and a worker would keep them
_CHARACTERS_AT_ONCE = 100_000
_SMALLEST_CHUNK = 32  # tokens; of smaller ones a long text would have very many
# which text a token is of, by the tokenizer's number
_OF = ("text", "text_pair")


class Tokenizer:
    """A Hugging Face fast tokenizer that encodes all texts of a batch in one call.

    `max_length` is the longest input in tokens, special ones included; `long_text` is what happens to a
    longer text that does not say it itself, and `stride` by how many tokens chunks overlap. With `pairs`
    a text alone is an error.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        long_text: str = "truncate",
        stride: int = 64,
        pairs: bool = False,
    ) -> None:
        self.max_length = max_length
        self._long_text = long_text
        self._stride = stride
        self._pairs = pairs
        self.pad_token_id = int(tokenizer.pad_token_id or 0)
        self._truncation_side = tokenizer.truncation_side
        self.gives_token_types = "token_type_ids" in tokenizer.model_input_names
        self._backend = tokenizer.backend_tokenizer
        self._special_tokens = (
            self._backend.num_special_tokens_to_add(is_pair=False),
            self._backend.num_special_tokens_to_add(is_pair=True),
        )
        # tokenizer.json may hold the truncation and padding that training used
        self._backend.no_truncation()
        self._backend.no_padding()

    def __call__(self, texts: Sequence[Text]) -> list[Encoding | RequestError]:
        """Encode the texts, in order; a text that cannot be encoded gets an error of its own."""
        return [result for some in _some_at_a_time(texts) for result in self._encode(some)]

    def _encode(self, texts: Sequence[Text]) -> list[Encoding | RequestError]:
        encodings = self._backend.encode_batch_fast([_as_input(text) for text in texts])
        return [
            self._made_of(encoding, text) for encoding, text in zip(encodings, texts, strict=True)
        ]

    def _made_of(self, encoding: Any, text: Text) -> Encoding | RequestError:
        """What becomes of a whole text."""
        limit = text.max_length or self.max_length
        if error := self._check(text, len(encoding), limit):
            return error
        if len(encoding) <= limit:
            return _as_encoding(encoding, text, self.gives_token_types)
        if (text.long_text or self._long_text) == "chunks":
            return self._cut_into_chunks(text, limit)
        kept = self._kept(encoding, limit)
        return _as_encoding(encoding, text, self.gives_token_types, kept)

    def _check(self, text: Text, tokens: int, limit: int) -> RequestError | None:
        """What is wrong with a text of so many tokens, if anything is."""
        if self._pairs and text.text_pair is None:
            return RequestError(
                "missing_text",
                'this model classifies pairs, and there is no "text_pair"; '
                'send {"text": "…", "text_pair": "…"}',
            )
        if error := self._check_limit(text, limit):
            return error
        if not tokens:  # control characters alone, and a tokenizer without special tokens
            return RequestError("empty_text", "the text has no tokens; send at least one word")
        refused = (text.long_text or self._long_text) == "error"
        return _too_long(tokens, limit) if tokens > limit and refused else None

    def _check_limit(self, text: Text, limit: int) -> RequestError | None:
        smallest = self._special_tokens[text.text_pair is not None] + 1
        if smallest <= limit <= self.max_length:
            return None
        return RequestError(
            "invalid_value",
            f"max_length is {limit}; this model reads {smallest} to {self.max_length} tokens",
            max_tokens=self.max_length,
        )

    def _kept(self, encoding: Any, limit: int) -> list[int]:
        """Places of the tokens that are left of too many, as the tokenizer's own truncation leaves them.

        That one would tokenize again, and make chunks of what it cuts off: of two long texts each with
        each, which are gigabytes for a request of a few hundred kilobytes.
        """
        of = encoding.sequence_ids  # None for special tokens, of which all are kept
        places = [[place for place, text in enumerate(of) if text == each] for each in (0, 1)]
        room = limit - of.count(None)
        shorter, longer = sorted(places, key=len)
        few = min(len(shorter), room // 2)
        kept = [place for place, text in enumerate(of) if text is None]
        for some, count in ((shorter, few), (longer, room - few)):
            start = len(some) - count if self._truncation_side == "left" else 0
            kept += some[start : start + count]
        return sorted(kept)

    def _cut_into_chunks(self, text: Text, limit: int) -> Encoding | RequestError:
        """Chunks of `limit` tokens that overlap; of a pair the shorter text is in each of them."""
        if limit < min(_SMALLEST_CHUNK, self.max_length):
            return RequestError(
                "invalid_value",
                f"max_length is {limit}; chunks have {_SMALLEST_CHUNK} tokens or more",
                max_tokens=self.max_length,
            )
        room, strategy = limit - self._special_tokens[text.text_pair is not None], "longest_first"
        if text.text_pair is not None:
            both = self._backend.encode_batch_fast(
                [text.text, text.text_pair], add_special_tokens=False
            )
            tokens = [len(each) for each in both]
            room -= min(tokens)
            strategy = "only_first" if tokens[0] >= tokens[1] else "only_second"
            if room < limit // 4:
                return _too_long_beside(min(tokens), limit)
        self._backend.enable_truncation(
            limit, strategy=strategy, stride=min(self._stride, room // 2)
        )
        try:
            encoding = self._backend.encode(text.text, text.text_pair)
        finally:
            self._backend.no_truncation()
        first, *others = (
            _as_encoding(each, text, self.gives_token_types)
            for each in (encoding, *encoding.overflowing)
        )
        return replace(first, further=tuple(others))

    def pieces(self, text: Text) -> tuple[Encoding, list[Piece]]:
        """A text that a call encodes, encoded the same; and where each of its tokens is from."""
        encoding, limit = self._backend.encode(text.text, text.text_pair), text.max_length
        is_long = len(encoding) > (limit or self.max_length)
        kept = self._kept(encoding, limit or self.max_length) if is_long else None
        tokens = zip(
            encoding.special_tokens_mask,
            encoding.sequence_ids,
            encoding.word_ids,
            encoding.offsets,
            strict=True,
        )
        pieces = [
            Piece(None) if is_special else Piece(_OF[sequence or 0], word, *offsets)
            for is_special, sequence, word, offsets in tokens
        ]
        if kept is not None:
            pieces = [pieces[place] for place in kept]
        return _as_encoding(encoding, text, self.gives_token_types, kept), pieces


def _some_at_a_time(texts: Sequence[Text]) -> Iterator[list[Text]]:
    """Texts that are tokenized in one call: all of them, unless they are very long."""
    some: list[Text] = []
    characters = 0
    for text in texts:
        size = len(text.text) + len(text.text_pair or "")
        if some and characters + size > _CHARACTERS_AT_ONCE:
            yield some
            some, characters = [], 0
        some.append(text)
        characters += size
    if some:
        yield some


def _as_encoding(
    encoding: Any, text: Text, gives_token_types: bool, kept: list[int] | None = None
) -> Encoding:
    """A tokenizer's encoding as ours; of some places where others are cut off."""
    ids = encoding.ids
    types = encoding.type_ids if gives_token_types else [0] * len(ids)
    if kept is not None:
        ids, types = [ids[place] for place in kept], [types[place] for place in kept]
    return Encoding(ids, types, kept is not None, text.activation, text.calibrated)


def _as_input(text: Text) -> str | tuple[str, str]:
    return text.text if text.text_pair is None else (text.text, text.text_pair)


def _too_long(tokens: int, limit: int) -> RequestError:
    return RequestError(
        "text_too_long",
        f"the text has {tokens} tokens, {limit} are allowed; shorten it, or send "
        '"long_text": "truncate" to have it cut',
        tokens=tokens,
        max_tokens=limit,
    )


def _too_long_beside(tokens: int, limit: int) -> RequestError:
    return RequestError(
        "text_too_long",
        f"the shorter text of the pair has {tokens} tokens, of {limit} that a chunk holds; it stands in "
        "each chunk and must leave a quarter to the other: shorten it",
        tokens=tokens,
        max_tokens=limit,
    )


def load_tokenizer(model_dir: Path) -> PreTrainedTokenizerBase:
    """The folder's fast tokenizer, from its files alone; LoadError where there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises many types for a broken tokenizer
        raise LoadError(f"the tokenizer cannot be loaded: {error}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        # transformers makes an empty one where a folder has none, and every text would be unknown
        raise LoadError("the folder has no tokenizer; save it with tokenizer.save_pretrained()")
    if not tokenizer.is_fast:
        raise LoadError(
            f"{type(tokenizer).__name__} has no fast version; convert it to a tokenizer.json first"
        )
    return tokenizer

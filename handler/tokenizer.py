"""Texts become token ids; a text that is too long is noticed, never cut in silence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .errors import LoadError, RequestError
from .values import Encoding, Text


class Tokenizer:
    """A Hugging Face fast tokenizer that encodes all texts of a batch in one call.

    `max_length` is the longest input in tokens, special ones included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.max_length = max_length
        self.pad_token_id = int(tokenizer.pad_token_id or 0)
        self._truncation_side = tokenizer.truncation_side
        self._gives_token_types = "token_type_ids" in tokenizer.model_input_names
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
        encodings = self._backend.encode_batch_fast([_as_input(text) for text in texts])
        results: list[Encoding | RequestError] = []
        too_long: dict[int, list[int]] = defaultdict(list)
        for index, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            limit = text.max_length or self.max_length
            error = self._check_limit(text, limit)
            if not encoding.ids:  # control characters alone, and a tokenizer without special tokens
                error = RequestError("empty_text", "the text has no tokens; send at least one word")
            if error is None and len(encoding.ids) > limit and not text.truncate:
                error = _too_long(len(encoding.ids), limit)
            elif error is None and len(encoding.ids) > limit:
                too_long[limit].append(index)
            results.append(error or self._encoding(encoding, text, truncated=False))
        for limit, indices in too_long.items():
            for index, cut in zip(
                indices, self._truncate([texts[i] for i in indices], limit), strict=True
            ):
                results[index] = cut
        return results

    def _check_limit(self, text: Text, limit: int) -> RequestError | None:
        smallest = self._special_tokens[text.text_pair is not None] + 1
        if smallest <= limit <= self.max_length:
            return None
        return RequestError(
            "invalid_value",
            f"max_length is {limit}; this model reads {smallest} to {self.max_length} tokens",
            max_tokens=self.max_length,
        )

    def _truncate(self, texts: list[Text], limit: int) -> list[Encoding]:
        """Encode again, this time cut to `limit` tokens by the tokenizer itself."""
        self._backend.enable_truncation(
            limit, strategy="longest_first", direction=self._truncation_side
        )
        try:
            encodings = self._backend.encode_batch_fast([_as_input(text) for text in texts])
        finally:
            self._backend.no_truncation()
        return [
            self._encoding(encoding, text, truncated=True)
            for encoding, text in zip(encodings, texts, strict=True)
        ]

    def _encoding(self, encoding: Any, text: Text, *, truncated: bool) -> Encoding:
        types = encoding.type_ids if self._gives_token_types else [0] * len(encoding.ids)
        return Encoding(encoding.ids, types, truncated, text.activation)


def _as_input(text: Text) -> str | tuple[str, str]:
    return text.text if text.text_pair is None else (text.text, text.text_pair)


def _too_long(tokens: int, limit: int) -> RequestError:
    return RequestError(
        "text_too_long",
        f"the text has {tokens} tokens, {limit} are allowed; shorten it, or leave out "
        '"truncate": false to have it cut',
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

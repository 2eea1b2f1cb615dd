"""Texts become token ids.

tokenizer   texts to token ids; one that is too long is noticed, never cut in silence
chunks      a long text is classified in chunks, and their logits come together
words       pieces of a tokenizer become words of the caller's text, with where they stand
"""

from .chunks import aggregate, all_chunks
from .tokenizer import Tokenizer, load_tokenizer
from .words import to_words

__all__ = ["Tokenizer", "aggregate", "all_chunks", "load_tokenizer", "to_words"]

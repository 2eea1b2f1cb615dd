import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from benchmark.workloads import LONGEST, SHORTEST, draw_length, load_workloads, mixed_texts

ROOT = Path(__file__).parent.parent.parent
SHARED = ROOT.parent / "shared"
QUESTIONS = ["where is my card", "why was this payment declined", "top up"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    """One token a word."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def test_lengths_are_about_57_tokens_and_within_bounds() -> None:
    generator = random.Random(0)
    lengths = [draw_length(generator) for _ in range(20_000)]
    assert (min(lengths), max(lengths)) == (SHORTEST, LONGEST)
    assert 55 < sum(lengths) / len(lengths) < 58


def test_mixed_texts_have_the_drawn_lengths_and_are_the_same_each_time(
    tokenizer: Tokenizer,
) -> None:
    texts = mixed_texts(QUESTIONS, tokenizer, 500)
    assert texts == mixed_texts(QUESTIONS, tokenizer, 500)
    lengths = [len(text.split()) + 2 for text in texts]
    assert min(lengths) >= SHORTEST
    assert max(lengths) <= LONGEST
    assert 52 < sum(lengths) / len(lengths) < 60
    assert {word for text in texts for word in text.split()} == set(" ".join(QUESTIONS).split())


@pytest.mark.skipif(not SHARED.exists(), reason="the benchmark's texts are not here")
def test_the_workloads_as_the_model_reads_them() -> None:
    model_tokenizer = Tokenizer.from_file(
        str(SHARED / "models" / "banking77-minilm" / "tokenizer.json")
    )
    model_tokenizer.no_truncation()
    workloads = load_workloads(SHARED / "data", model_tokenizer, 512)
    short, mixed, long = workloads.values()
    assert 10 < short.mean_length < 20
    assert 52 <= mixed.mean_length <= 58
    assert max(mixed.lengths) <= LONGEST
    assert max(long.lengths) == 512
    assert long.mean_length > 450

"""The texts: the same ones, in the same order, at every run.

short   questions to a bank, as they were asked
mixed   their words, joined and cut to lengths of a log-normal distribution, as texts of people have
long    whole film reviews, most of them longer than what the model reads
"""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

NAMES = ("short", "mixed", "long")
SEED = 77
MIXED_TEXTS = 2_000
# of the mixed lengths, in tokens; the mean is about 57 once they are cut to these bounds
MEDIAN, SIGMA = 48, 0.7
SHORTEST, LONGEST = 4, 128
SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class Workload:
    """Texts in the order in which they are sent, and their lengths as the model reads them, in tokens."""

    name: str
    texts: list[str]
    lengths: list[int]

    @property
    def mean_length(self) -> float:
        """Tokens of a text, on average."""
        return sum(self.lengths) / len(self.lengths)


def load_workloads(data: Path, tokenizer: Tokenizer, longest: int) -> dict[str, Workload]:
    """All workloads, shuffled; texts are read by the model up to `longest` tokens."""
    questions = read_questions(data / "banking77" / "test.csv")
    texts = {
        "short": questions,
        "mixed": mixed_texts(questions, tokenizer, MIXED_TEXTS),
        "long": read_reviews(data / "movie_reviews" / "test.jsonl"),
    }
    return {name: _workload(name, texts[name], tokenizer, longest) for name in NAMES}


def load_tokenizer(model_dir: Path) -> Tokenizer:
    """The model's own tokenizer, to count with: it neither cuts nor pads."""
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_questions(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"].strip() for row in csv.DictReader(file)]


def read_reviews(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def mixed_texts(questions: Sequence[str], tokenizer: Tokenizer, count: int) -> list[str]:
    """Texts of the questions' words, each as long as was drawn or a little shorter."""
    generator = random.Random(SEED)
    words = _words(questions, tokenizer, generator)
    word, tokens = next(words)
    texts = []
    for _ in range(count):
        left = draw_length(generator) - SPECIAL_TOKENS
        text: list[str] = []
        while not text or tokens <= left:
            text.append(word)
            left -= tokens
            word, tokens = next(words)
        texts.append(" ".join(text))
    return texts


def draw_length(generator: random.Random) -> int:
    """A length in tokens, special ones included."""
    drawn = round(generator.lognormvariate(math.log(MEDIAN), SIGMA))
    return min(max(drawn, SHORTEST), LONGEST)


def _words(
    questions: Sequence[str], tokenizer: Tokenizer, generator: random.Random
) -> Iterator[tuple[str, int]]:
    """Words of the questions without end, each with its tokens."""
    while True:
        for question in generator.sample(questions, len(questions)):
            for word in question.split():
                yield word, len(tokenizer.encode(word, add_special_tokens=False))


def _workload(name: str, texts: list[str], tokenizer: Tokenizer, longest: int) -> Workload:
    shuffled = random.Random(SEED).sample(texts, len(texts))
    encodings = tokenizer.encode_batch_fast(shuffled)
    return Workload(name, shuffled, [min(len(encoding), longest) for encoding in encodings])

"""Tiny classifiers that are trained in seconds, on texts that are made here."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tiny

# a label is there where one of its words is
TOPICS = {
    "food": ("food", "waiter", "kitchen"),
    "film": ("film", "actor", "story"),
    "delivery": ("delivery", "kettle", "boots"),
}
_OTHERS = [word for word in tiny.WORDS if not any(word in words for words in TOPICS.values())]
_NOISE = 0.1  # of labels that are wrong, so that confidence has a reason to be low
_BATCH, _MOST_STEPS, _TRIES = 64, 2000, 6
_FIRST_SEED = 1_000
_LEARNT, _LATELY = 0.4, 50  # mean loss of the last steps; with so much noise 0.33 is the least


@dataclass(frozen=True)
class Example:
    """A text, or pair, and its labels."""

    text: str
    labels: tuple[str, ...]
    text_pair: str | None = None

    def row(self) -> dict[str, object]:
        """As a labelled file has it."""
        pair = {} if self.text_pair is None else {"text_pair": self.text_pair}
        return {"text": self.text, **pair, "labels": list(self.labels)}


def topics(count: int, seed: int) -> list[Example]:
    """Texts with any number of topics."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        chosen = [topic for topic in TOPICS if chance.random() < 0.4]
        words = chance.sample(_OTHERS, 5) + [chance.choice(TOPICS[topic]) for topic in chosen]
        chance.shuffle(words)
        labels = tuple(t for t in TOPICS if (t in chosen) != (chance.random() < _NOISE))
        found.append(Example(" ".join(words), labels))
    return found


def pairs(count: int, seed: int) -> list[Example]:
    """Pairs of texts that are about the same topic, or about different ones."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        same = chance.random() < 0.5
        first = chance.choice(list(TOPICS))
        second = first if same else chance.choice([t for t in TOPICS if t != first])
        texts = [
            " ".join(chance.sample([*chance.sample(_OTHERS, 2), chance.choice(TOPICS[topic])], 3))
            for topic in (first, second)
        ]
        told = same != (chance.random() < _NOISE)
        found.append(Example(texts[0], ("same" if told else "different",), texts[1]))
    return found


def train(
    folder: Path,
    make: Callable[[int, int], list[Example]],
    labels: tuple[str, ...],
    *,
    independent: bool,
) -> Path:
    """Write a classifier of these labels into `folder`, and return it.

    Each batch is made anew, so that nothing can be learnt by heart. Some random weights learn nothing:
    then others get a chance.
    """
    return next(
        folder for seed in range(_TRIES) if _learns(folder, make, labels, independent, seed)
    )


def _learns(
    folder: Path,
    make: Callable[[int, int], list[Example]],
    labels: tuple[str, ...],
    independent: bool,
    seed: int,
) -> bool:
    problem = "multi_label_classification" if independent else "single_label_classification"
    tiny.make_model(
        folder,
        labels=labels,
        seed=seed,
        problem_type=problem,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():  # the random models of other tests are too wild to learn
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    losses: list[float] = []
    while sum(losses[-_LATELY:]) >= _LEARNT * _LATELY or len(losses) < _LATELY:
        if len(losses) == _MOST_STEPS:
            return False
        batch = make(_BATCH, _FIRST_SEED + len(losses))
        inputs = tokenizer(
            [each.text for each in batch],
            [each.text_pair for each in batch] if batch[0].text_pair else None,
            padding=True,
            return_tensors="pt",
        )
        truth = torch.tensor([[float(name in each.labels) for name in labels] for each in batch])
        target = truth if independent else truth.argmax(dim=1)
        loss = model(**inputs, labels=target).loss
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    return True

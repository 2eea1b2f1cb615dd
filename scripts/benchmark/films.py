"""A classifier of film reviews, fine-tuned in half a minute: a real encoder, and a head that learns.

The encoder stays as it is; what it makes of pieces of short reviews is computed once, and the pooler and
the classifier learn from that. It reads 128 tokens.
"""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

LABELS = ("neg", "pos")
TOKENS = 128
LONG = 1000  # words
_PIECES, _AT_ONCE, _EPOCHS, _BATCH, _DROPOUT = 6_000, 32, 15, 64, 0.2


@dataclass(frozen=True)
class Review:
    """What somebody wrote of a film, and whether they liked it."""

    text: str
    label: str

    @property
    def is_long(self) -> bool:
        """Whether it has a thousand words or more."""
        return len(self.text.split()) >= LONG


def read_reviews(folder: Path) -> list[Review]:
    """All reviews of the folder."""
    lines = [
        json.loads(line)
        for name in ("train.jsonl", "test.jsonl")
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    return [Review(line["text"], line["label"]) for line in lines]


def train(encoder: Path, reviews: list[Review], folder: Path) -> Path:
    """Write a classifier that learnt from these reviews into `folder`, and return it."""
    torch.manual_seed(0)
    transformers.utils.logging.set_verbosity_error()  # the head is new, as it should be
    tokenizer = AutoTokenizer.from_pretrained(encoder, model_max_length=TOKENS)
    names = dict(enumerate(LABELS))
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=2, id2label=names, dtype=torch.float32
    )
    pieces = [piece for review in reviews for piece in _pieces(tokenizer, review)]
    pieces = random.Random(0).sample(pieces, min(_PIECES, len(pieces)))
    states = _states(model, torch.tensor([ids for ids, _ in pieces]))
    truth = torch.tensor([label for _, label in pieces])
    head = [*model.base_model.pooler.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.AdamW(head, lr=1e-3)
    for _ in range(_EPOCHS):
        for rows in torch.split(torch.randperm(len(states)), _BATCH):
            pooled = torch.tanh(model.base_model.pooler.dense(states[rows]))
            logits = model.classifier(torch.nn.functional.dropout(pooled, _DROPOUT))
            loss = torch.nn.functional.cross_entropy(logits, truth[rows])
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _pieces(tokenizer: AutoTokenizer, review: Review) -> list[tuple[list[int], int]]:
    """Token ids of whole pieces of a review, with its label."""
    ids = tokenizer(review.text, add_special_tokens=False, verbose=False)["input_ids"]
    size = TOKENS - 2
    return [
        (
            [tokenizer.cls_token_id, *ids[start : start + size], tokenizer.sep_token_id],
            LABELS.index(review.label),
        )
        for start in range(0, len(ids) - size + 1, size)
    ]


def _states(model: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """What the encoder makes of the first token of each row, [rows, size]."""
    encoder = copy.deepcopy(model.base_model).to(torch.bfloat16).eval()
    with torch.no_grad():
        found = [
            encoder(input_ids=some).last_hidden_state[:, 0].float()
            for some in torch.split(input_ids, _AT_ONCE)
        ]
    return torch.cat(found)

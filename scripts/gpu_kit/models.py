"""The random models that all parts use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
)
from transformers.utils import logging

import tiny
from handler.engine import Classifier
from handler.engine.loading import keep_head_exact
from handler.values import Encoding

LONGEST = 512  # tokens
logging.disable_progress_bar()  # the table is what is to be read
# hidden size, layers, heads, intermediate size
SIZES = {"tiny": (128, 2, 2, 512), "base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096)}
# sizes of attention heads: none, or one, is a multiple of what a kernel wants
HEAD_SIZES = (26, 32, 64, 80)
_LIKE_ROBERTA = ("roberta", "xlm-roberta", "mpnet")


@dataclass(frozen=True)
class Folder:
    """A model's folder, and what the model is called in the table."""

    name: str
    path: Path


def folders(root: Path, architectures: list[str], head_sizes: tuple[int, ...]) -> list[Folder]:
    """Tiny classifiers of the architectures, and BERTs with such heads; all read 512 tokens."""
    made = [Folder(name, _make(root / name, name)) for name in architectures]
    for size in head_sizes:
        name = f"bert, heads of {size}"
        path = _make(root / f"heads-{size}", "bert", hidden_size=4 * size)
        made.append(Folder(name, path))
    return made


def _make(folder: Path, architecture: str, **config: Any) -> Path:
    if (folder / "config.json").exists():
        return folder
    positions = LONGEST + 2 * (architecture in _LIKE_ROBERTA)
    tiny.make_model(folder, architecture, max_position_embeddings=positions, **config)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "model_max_length": LONGEST}))
    return folder


def random_roberta(folder: Path, size: str, labels: tuple[str, ...]) -> Path:
    """A RoBERTa of a size with a tiny tokenizer, its weights as small as training begins with.

    Those of its last layer are large, so that texts get clearly different probabilities.
    """
    _make(folder, "roberta", labels=labels)
    hidden, layers, heads, inner = SIZES[size]
    config = AutoConfig.from_pretrained(folder)
    config.hidden_size, config.num_hidden_layers = hidden, layers
    config.num_attention_heads, config.intermediate_size = heads, inner
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        model.classifier.out_proj.weight.normal_(0.0, 1.0)
    model.save_pretrained(folder)
    return folder


def bert_config(size: str, **others: Any) -> BertConfig:
    """The configuration of a BERT of a size."""
    hidden, layers, heads, inner = SIZES[size]
    return BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        num_labels=8,
        **others,
    )


def bert(size: str, dtype: torch.dtype) -> BertForSequenceClassification:
    """A random BERT of a size, as an archive's model is loaded; its head computes in float32."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(bert_config(size)).to(dtype).eval()
    if dtype != torch.float32:
        keep_head_exact(model)
    return model


def classifier(device: torch.device, **options: Any) -> Classifier:
    """What stands for a served model: BERT-base in bfloat16 on a GPU, a tiny one in float32 on a CPU."""
    size, dtype = ("base", torch.bfloat16) if device.type == "cuda" else ("tiny", torch.float32)
    made = Classifier(bert(size, dtype), device, pad_token_id=0, **options)
    made.speed_up(LONGEST)
    return made


def texts(lengths: Sequence[int], vocabulary: int = 30_000, seed: int = 0) -> list[Encoding]:
    """Random texts of so many tokens, none of which is one of the tokenizer's own."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Encoding(
            torch.randint(5, vocabulary, (length,), generator=generator).tolist(),
            [0] * length,
            truncated=False,
        )
        for length in lengths
    ]

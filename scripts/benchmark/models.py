"""The models that are measured: one that was fine-tuned, and others of today's architectures and sizes.

The others have random weights, the fine-tuned one's tokenizer and its labels: how fast they are does not
depend on what they learnt.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

FINE_TUNED = "banking77-minilm"
RANDOM: dict[str, dict[str, Any]] = {
    "deberta-v3-small": {
        "model_type": "deberta-v2",
        "hidden_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 3_072,
        "max_position_embeddings": 512,
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
    },
    "modernbert-base": {
        "model_type": "modernbert",
        "cls_token_id": 101,
        "bos_token_id": 101,
        "sep_token_id": 102,
        "eos_token_id": 102,
        "classifier_pooling": "mean",
    },
}
NAMES = (FINE_TUNED, *RANDOM)


def make_model(name: str, fine_tuned: Path, folder: Path) -> Path:
    """The folder of a model; a random one is written to `folder`."""
    if name == FINE_TUNED:
        return fine_tuned
    known = json.loads((fine_tuned / "config.json").read_bytes())
    labels = {key: known[key] for key in ("id2label", "label2id")}
    config = AutoConfig.for_model(
        **RANDOM[name], **labels, vocab_size=known["vocab_size"], pad_token_id=0
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    shutil.copyfile(fine_tuned / "tokenizer.json", folder / "tokenizer.json")
    tokenizer = json.loads((fine_tuned / "tokenizer_config.json").read_bytes())
    # transformers would hand them token types that they do not take
    tokenizer["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder

"""A model that openvino_export.py made, compiled for this CPU, and its tokenizer."""

import json
from pathlib import Path

import numpy as np
import openvino
from tokenizers import Tokenizer


def read_tokenizer(model_dir: Path) -> Tokenizer:
    config = json.loads((model_dir / "config.json").read_bytes())
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.enable_truncation(min(512, config["max_position_embeddings"]))
    tokenizer.no_padding()
    return tokenizer


def inputs_of(tokenizer: Tokenizer, text: str) -> dict[str, np.ndarray]:
    """One text, [1, tokens] each."""
    encoding = tokenizer.encode(text)
    return {
        "input_ids": np.array([encoding.ids], dtype=np.int64),
        "attention_mask": np.array([encoding.attention_mask], dtype=np.int64),
        "token_type_ids": np.array([encoding.type_ids], dtype=np.int64),
    }


class Compiled:
    """`precision` is bf16 or int8, `hint` THROUGHPUT or LATENCY."""

    def __init__(self, model_dir: Path, precision: str, hint: str) -> None:
        settings = {"PERFORMANCE_HINT": hint}
        if precision == "bf16":
            settings["INFERENCE_PRECISION_HINT"] = "bf16"
        name = "int8.xml" if precision == "int8" else "float.xml"
        core = openvino.Core()
        self.model = core.compile_model(core.read_model(model_dir / name), "CPU", settings)
        self.names = {name for each in self.model.inputs for name in each.get_names()}
        self._tokenizer = read_tokenizer(model_dir)

    def inputs(self, text: str) -> dict[str, np.ndarray]:
        given = inputs_of(self._tokenizer, text)
        return {name: each for name, each in given.items() if name in self.names}

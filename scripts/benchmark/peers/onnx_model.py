"""A model that onnx_export.py made, on all cores, and its tokenizer."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class Session:
    """Of one text at a time; `labels` in the order of the logits."""

    def __init__(self, model_dir: Path) -> None:
        config = json.loads((model_dir / "config.json").read_bytes())
        self.labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
        self._tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        self._tokenizer.enable_truncation(config["max_position_embeddings"])
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        self._session = onnxruntime.InferenceSession(
            model_dir / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def inputs(self, text: str) -> dict[str, np.ndarray]:
        """[1, tokens] each."""
        encoding = self._tokenizer.encode(text)
        return {
            "input_ids": np.array([encoding.ids], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask], dtype=np.int64),
            "token_type_ids": np.array([encoding.type_ids], dtype=np.int64),
        }

    def logits(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """[labels]."""
        return self._session.run(["logits"], inputs)[0][0]

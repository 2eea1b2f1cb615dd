"""ONNX Runtime behind FastAPI: each request is a run of the session, in a pool of threads."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

MODEL_DIR, PORT = Path(sys.argv[1]), int(sys.argv[2])

config = json.loads((MODEL_DIR / "config.json").read_bytes())
labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
tokenizer.enable_truncation(config["max_position_embeddings"])
tokenizer.no_padding()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0))
session = onnxruntime.InferenceSession(
    MODEL_DIR / "model.onnx", options, providers=["CPUExecutionProvider"]
)
app = FastAPI()


class Query(BaseModel):
    text: str


@app.post("/predict")
def predict(query: Query) -> list[dict[str, str | float]]:
    encoding = tokenizer.encode(query.text)
    inputs = {
        "input_ids": np.array([encoding.ids], dtype=np.int64),
        "attention_mask": np.array([encoding.attention_mask], dtype=np.int64),
        "token_type_ids": np.array([encoding.type_ids], dtype=np.int64),
    }
    (logits,) = session.run(["logits"], inputs)
    powers = np.exp(logits[0] - logits[0].max())
    scores = (powers / powers.sum()).tolist()
    return [{"label": label, "score": score} for label, score in zip(labels, scores, strict=True)]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False)

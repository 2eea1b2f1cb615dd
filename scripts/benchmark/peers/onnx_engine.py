"""ONNX Runtime without a server, a text at a time on all cores.

onnx_engine.py MODEL_DIR NAME JOBS.json prints one JSON object, as benchmark/engine.py does.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

MODEL_DIR, NAME, JOBS = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])

config = json.loads((MODEL_DIR / "config.json").read_bytes())
tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
tokenizer.enable_truncation(config["max_position_embeddings"])
tokenizer.no_padding()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0))
session = onnxruntime.InferenceSession(
    MODEL_DIR / "model.onnx", options, providers=["CPUExecutionProvider"]
)


def inputs_of(text: str) -> dict[str, np.ndarray]:
    encoding = tokenizer.encode(text)
    rows = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    return {name: np.array([row], dtype=np.int64) for name, row in rows.items()}


def classify(inputs: list[dict[str, np.ndarray]]) -> list[int]:
    return [int(session.run(["logits"], each)[0][0].argmax()) for each in inputs]


calls = []
for job in json.loads(JOBS.read_bytes()):
    inputs = [inputs_of(text) for text in job["texts"]]
    labels = classify(inputs)
    seconds = []
    for _ in range(job["repeats"]):
        start = time.perf_counter()
        classify(inputs)
        seconds.append(time.perf_counter() - start)
    calls.append(
        {
            "workload": job["workload"],
            "texts": len(inputs),
            "seconds": seconds,
            "texts_per_second": len(inputs) / statistics.median(seconds),
            "labels": labels,
        }
    )
computes_in = "int8" if "int8" in NAME else "float32"
print(json.dumps({"precision": NAME, "computes_in": computes_in, "calls": calls}))

"""OpenVINO behind FastAPI: each request is an inference of one text, in a pool of threads."""

import json
import sys
import threading
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from openvino_model import Compiled
from pydantic import BaseModel

MODEL_DIR, PORT, PRECISION, HINT = Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]

config = json.loads((MODEL_DIR / "config.json").read_bytes())
labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
compiled = Compiled(MODEL_DIR, PRECISION, HINT)
of_thread = threading.local()
app = FastAPI()


class Query(BaseModel):
    text: str


@app.post("/predict")
def predict(query: Query) -> list[dict[str, str | float]]:
    if not hasattr(of_thread, "request"):
        of_thread.request = compiled.model.create_infer_request()
    logits = of_thread.request.infer(compiled.inputs(query.text))[0]
    powers = np.exp(logits[0] - logits[0].max())
    scores = (powers / powers.sum()).tolist()
    return [{"label": label, "score": score} for label, score in zip(labels, scores, strict=True)]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False)

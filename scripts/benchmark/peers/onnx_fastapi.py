"""ONNX Runtime behind FastAPI: each request is a run of the session, in a pool of threads."""

import sys
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from onnx_model import Session
from pydantic import BaseModel

MODEL_DIR, PORT = Path(sys.argv[1]), int(sys.argv[2])

session = Session(MODEL_DIR)
app = FastAPI()


class Query(BaseModel):
    text: str


@app.post("/predict")
def predict(query: Query) -> list[dict[str, str | float]]:
    logits = session.logits(session.inputs(query.text))
    powers = np.exp(logits - logits.max())
    scores = (powers / powers.sum()).tolist()
    return [
        {"label": label, "score": score}
        for label, score in zip(session.labels, scores, strict=True)
    ]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False)

"""FastAPI around transformers' pipeline: each request is a call of it, in a pool of threads."""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

MODEL_DIR, PORT = sys.argv[1:]

app = FastAPI()
classifier = pipeline(
    "text-classification", model=MODEL_DIR, dtype=torch.float32, device="cpu", top_k=None
)


class Query(BaseModel):
    text: str


@app.post("/predict")
def predict(query: Query) -> list[dict[str, str | float]]:
    return classifier(query.text, truncation=True)[0]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(PORT), access_log=False)

"""No server is measured while it answers wrongly: its answers are compared with those of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from bertserve.handler.errors import RequestError
from bertserve.handler.pipeline import Pipeline
from bertserve.handler.settings import Settings
from bertserve.handler.values import Text

Probabilities = Mapping[str, float]


def expected(model_dir: Path, texts: Iterable[str]) -> dict[str, Probabilities]:
    """Text → its probabilities, computed here in float32."""
    pipeline = Pipeline(model_dir, Settings(precision="float32"), torch.device("cpu"))
    answers: dict[str, Probabilities] = {}
    for text in texts:
        (prediction,) = pipeline([Text(text)])
        if isinstance(prediction, RequestError):
            raise prediction
        answers[text] = prediction.probabilities
    return answers


def offence(answer: Probabilities, truth: Probabilities, tolerance: float) -> str | None:
    """What is wrong with the best label of an answer and its probability, if anything is.

    Of labels that are about equally probable any may be the best.
    """
    label, probability = max(answer.items(), key=lambda item: item[1])
    if label not in truth:
        return f"it answers {label}, which is no label of the model"
    if abs(probability - truth[label]) > tolerance:
        return f"it answers {label} with {probability:.3f}, right is {truth[label]:.3f}"
    best = max(truth, key=lambda name: truth[name])
    if truth[best] - truth[label] > tolerance:
        return f"it answers {label}, right is {best}"
    return None

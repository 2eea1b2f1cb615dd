"""Logits become label→probability maps: softmax(dim=1), or sigmoid where labels are independent."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .errors import RequestError
from .values import Encoding, Prediction


def activate(logits: torch.Tensor, activation: str) -> torch.Tensor:
    """Probabilities in float32 from logits of any precision, both [texts, labels]."""
    logits = logits.float()
    if (
        activation == "none"
    ):  # a caller of the Hugging Face protocol asked for the logits themselves
        return logits
    return torch.sigmoid(logits) if activation == "sigmoid" else torch.softmax(logits, dim=1)


def predictions(
    logits: torch.Tensor, encodings: Sequence[Encoding], labels: Sequence[str], activation: str
) -> list[Prediction | RequestError]:
    """One Prediction a text, its labels by falling probability, from logits [texts, labels].

    `activation` is the model's own; a text that asks for another one gets that.
    """
    finite = torch.isfinite(logits).all(dim=1).tolist()
    probabilities = activate(logits, activation)
    for index, encoding in enumerate(encodings):
        if encoding.activation not in (None, activation):
            row = slice(index, index + 1)
            probabilities[row] = activate(logits[row], encoding.activation)
    ranked, order = probabilities.sort(dim=1, descending=True, stable=True)
    rows = zip(
        encodings,
        finite,
        order.tolist(),
        ranked.tolist(),
        logits.gather(1, order).tolist(),
        strict=True,
    )
    return [
        _prediction(encoding, [labels[index] for index in indices], probabilities, values)
        if is_finite
        else RequestError(
            "model_output_invalid",
            "the model's logits for this text are not finite; serve it with --precision float32",
        )
        for encoding, is_finite, indices, probabilities, values in rows
    ]


def _prediction(
    encoding: Encoding, labels: list[str], probabilities: list[float], logits: list[float]
) -> Prediction:
    return Prediction(
        probabilities=dict(zip(labels, probabilities, strict=True)),
        logits=dict(zip(labels, logits, strict=True)),
        tokens=len(encoding.input_ids),
        truncated=encoding.truncated,
    )

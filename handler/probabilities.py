"""Logits become label→probability maps: softmax(dim=1), or sigmoid where labels are independent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .calibration import Calibration
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


def entropies(probabilities: torch.Tensor, activation: str) -> torch.Tensor:
    """Entropy of each text, [texts], as a share of the highest; probabilities are [texts, labels]."""
    if activation == "sigmoid":
        each = -torch.xlogy(probabilities, probabilities)
        each -= torch.xlogy(1 - probabilities, 1 - probabilities)
        return each.mean(dim=1) / math.log(2)
    labels = probabilities.shape[1]
    return -torch.xlogy(probabilities, probabilities).sum(dim=1) / math.log(max(2, labels))


def predictions(
    logits: torch.Tensor,
    encodings: Sequence[Encoding],
    labels: Sequence[str],
    activation: str,
    calibration: Calibration | None = None,
) -> list[Prediction | RequestError]:
    """One Prediction a text, its labels by falling probability, from logits [texts, labels].

    `activation` is the model's own; a text that asks for another one, or for no calibration, gets that.
    """
    finite = torch.isfinite(logits).all(dim=1).tolist()
    probabilities = activate(calibration(logits) if calibration else logits, activation)
    confidences = probabilities.amax(dim=1).tolist()
    entropy = entropies(probabilities, activation).tolist()
    plain = [not (calibration and each.calibrated) for each in encodings]
    for index, encoding in enumerate(encodings):
        wanted = encoding.activation or activation
        if wanted != activation or (calibration and plain[index]):
            row = slice(index, index + 1)
            probabilities[row] = activate(logits[row], wanted)
            plain[index] = True
    ranked, order = probabilities.sort(dim=1, descending=True, stable=True)
    rows = zip(
        encodings,
        finite,
        order.tolist(),
        ranked.tolist(),
        logits.gather(1, order).tolist(),
        confidences,
        entropy,
        plain,
        strict=True,
    )
    return [
        Prediction(
            probabilities=dict(zip(names := [labels[i] for i in indices], values, strict=True)),
            logits=dict(zip(names, raw, strict=True)),
            tokens=len(encoding.input_ids),
            truncated=encoding.truncated,
            confidence=confidence,
            entropy=uncertainty,
            calibrated=not is_plain,
        )
        if is_finite
        else RequestError(
            "model_output_invalid",
            "the model's logits for this text are not finite; serve it with --precision float32",
        )
        for encoding, is_finite, indices, values, raw, confidence, uncertainty, is_plain in rows
    ]

"""Logits become label→probability maps: softmax(dim=1), or sigmoid where labels are independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import RequestError
from ..values import Decision, Encoding, Prediction
from .calibration import Calibration
from .decisions import Decisions, rank

if TYPE_CHECKING:
    import torch


def activate(logits: torch.Tensor, activation: str) -> torch.Tensor:
    """Probabilities in float32 from logits of any precision, both [texts, labels]."""
    logits = logits.float()
    if (
        activation == "none"
    ):  # a caller of the Hugging Face protocol asked for the logits themselves
        return logits
    return logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)


def entropies(probabilities: torch.Tensor, activation: str) -> torch.Tensor:
    """Entropy of each text, [texts], as a share of the highest; probabilities are [texts, labels]."""
    if activation == "sigmoid":
        each = -probabilities.xlogy(probabilities)
        each -= (1 - probabilities).xlogy(1 - probabilities)
        return each.mean(dim=1) / math.log(2)
    labels = probabilities.shape[1]
    return -probabilities.xlogy(probabilities).sum(dim=1) / math.log(max(2, labels))


@dataclass(frozen=True)
class Outputs:
    """What a model says of texts, a row a text: `predictions` makes one object a text of it.

    `logits` are as the model gave them, `probabilities` by the activation and calibration that each text
    asked for, both [texts, labels]. `confidence` and `entropy`, [texts], are of the model's own.
    """

    logits: torch.Tensor
    probabilities: torch.Tensor
    confidence: torch.Tensor
    entropy: torch.Tensor
    decisions: list[Decision]
    calibrated: list[bool]
    problems: list[RequestError | None]


def outputs(
    logits: torch.Tensor,
    encodings: Sequence[Encoding],
    labels: Sequence[str],
    activation: str,
    calibration: Calibration | None = None,
    decisions: Decisions | None = None,
) -> Outputs:
    """What logits [texts, labels] say.

    `activation` is the model's own; a text that asks for another one, or for no calibration, gets that,
    and a decision without the archive's levels.
    """
    decisions = decisions or Decisions(labels, activation)
    finite = logits.isfinite().all(dim=1).tolist()
    own = activate(calibration(logits) if calibration else logits, activation)
    decided = decisions(own)
    probabilities = own.clone()
    plain = [not each.calibrated or each.activation not in (None, activation) for each in encodings]
    for index in (index for index, is_plain in enumerate(plain) if is_plain):
        row = logits[index : index + 1]
        probabilities[index] = activate(row, encodings[index].activation or activation)[0]
        decided[index] = decisions.plain(activate(row, activation))[0]
    return Outputs(
        logits,
        probabilities,
        own.amax(dim=1),
        entropies(own, activation),
        decided,
        [calibration is not None and not is_plain for is_plain in plain],
        [None if is_finite else _not_finite() for is_finite in finite],
    )


def predictions(
    found: Outputs, encodings: Sequence[Encoding], labels: Sequence[str]
) -> list[Prediction | RequestError]:
    """One Prediction a text, its labels by falling probability."""
    ranked, order = rank(found.probabilities)
    rows = zip(
        encodings,
        found.problems,
        order.tolist(),
        ranked.tolist(),
        found.logits.tolist(),
        found.confidence.tolist(),
        found.entropy.tolist(),
        found.decisions,
        found.calibrated,
        strict=True,
    )
    return [
        problem
        or Prediction(
            probabilities={labels[i]: value for i, value in zip(indices, values, strict=True)},
            logits=logits,
            tokens=sum(len(piece.input_ids) for piece in (encoding, *encoding.further)),
            truncated=encoding.truncated,
            confidence=confidence,
            entropy=uncertainty,
            decision=decision,
            calibrated=calibrated,
            chunks=1 + len(encoding.further),
        )
        for (
            encoding,
            problem,
            indices,
            values,
            logits,
            confidence,
            uncertainty,
            decision,
            calibrated,
        ) in rows
    ]


def _not_finite() -> RequestError:
    return RequestError(
        "model_output_invalid",
        "the model's logits for this text are not finite; serve it with --precision float32",
    )

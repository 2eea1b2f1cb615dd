"""Logits become label→probability maps: softmax(dim=1), or sigmoid where labels are independent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PretrainedConfig

from .errors import LoadError, RequestError
from .values import Encoding, Prediction


def choose_activation(config: PretrainedConfig) -> str:
    """`softmax`, or `sigmoid` for independent labels and for a model with a single logit."""
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return "sigmoid"
    if config.problem_type == "regression":
        raise LoadError(
            "config.json says problem_type regression: its outputs are no probabilities; "
            "set problem_type to single_label_classification or multi_label_classification"
        )
    return "softmax"


def activate(logits: torch.Tensor, activation: str) -> torch.Tensor:
    """Probabilities in float32 from logits of any precision, both [texts, labels]."""
    logits = logits.float()
    return torch.sigmoid(logits) if activation == "sigmoid" else torch.softmax(logits, dim=1)


def predictions(
    logits: torch.Tensor, encodings: Sequence[Encoding], labels: Sequence[str], activation: str
) -> list[Prediction | RequestError]:
    """One Prediction a text, its labels by falling probability, from logits [texts, labels]."""
    finite = torch.isfinite(logits).all(dim=1).tolist()
    ranked, order = activate(logits, activation).sort(dim=1, descending=True, stable=True)
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


def read_labels(model_dir: Path, config: PretrainedConfig) -> list[str]:
    """Label names in the order of the logits: from `index_to_name.json`, or from `id2label`."""
    path = model_dir / "index_to_name.json"
    source, names = "config.json's id2label", dict(config.id2label)
    if path.exists():
        source = path.name
        try:
            names = {int(index): name for index, name in json.loads(path.read_bytes()).items()}
        except (ValueError, AttributeError) as error:
            raise LoadError(f'{source} must look like {{"0": "first label", …}}') from error
    if sorted(names) != list(range(config.num_labels)):
        raise LoadError(
            f"{source} names {len(names)} labels, the model has {config.num_labels} outputs; "
            f"give it one name for each of 0 to {config.num_labels - 1}"
        )
    labels = [names[index] for index in range(config.num_labels)]
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise LoadError(f"{source} must give every output a name of its own, as a string")
    return labels

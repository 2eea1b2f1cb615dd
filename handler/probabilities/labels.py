"""The names of a model's outputs, and what kind of question they answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import LoadError


def name_labels(
    outputs: int, id2label: Mapping[Any, Any], index_to_name: Any | None = None
) -> list[str]:
    """Label names in the order of the logits; LoadError where an output has no name of its own.

    outputs         how many logits the model has
    id2label        names from config.json, by index
    index_to_name   content of the folder's `index_to_name.json` where it has one; it wins
    """
    source = "config.json's id2label" if index_to_name is None else "index_to_name.json"
    try:
        given = id2label if index_to_name is None else index_to_name
        names = {int(index): name for index, name in given.items()}
    except (AttributeError, ValueError) as error:
        raise LoadError(f'{source} must look like {{"0": "first label", …}}') from error
    if len(names) == outputs and sorted(names) != list(range(outputs)):
        raise LoadError(
            f"{source} numbers its labels {', '.join(map(str, sorted(names)[:5]))}"
            f"{', …' if outputs > 5 else ''}; number them 0 to {outputs - 1}, as the model's outputs are"
        )
    if sorted(names) != list(range(outputs)):
        raise LoadError(
            f"{source} names {len(names)} labels, the model has {outputs} outputs; "
            f"give it one name for each of 0 to {outputs - 1}"
        )
    labels = [names[index] for index in range(outputs)]
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < outputs:
        raise LoadError(f"{source} must give every output a name of its own, as a string")
    try:
        "".join(labels).encode("utf-8")
    except UnicodeEncodeError:  # JSON can hold it as \ud800, and no answer can repeat it
        raise LoadError(f"{source} has a name with half of a surrogate pair") from None
    return labels


def problem_type(declared: str | None, outputs: int) -> str:
    """transformers' problem type; where config.json declares none it follows from the outputs."""
    return declared or ("single_label_classification" if outputs > 1 else "single_logit")


def choose_activation(problem: str, outputs: int) -> str:
    """`softmax`, or `sigmoid` for independent labels and for a model with a single logit."""
    if problem == "regression":
        raise LoadError(
            "config.json says problem_type regression: its outputs are no probabilities; if they "
            "are logits, set problem_type to single_label_classification, or to "
            "multi_label_classification for labels that are independent, or a single one"
        )
    return "sigmoid" if problem == "multi_label_classification" or outputs == 1 else "softmax"

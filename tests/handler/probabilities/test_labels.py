from typing import Any

import pytest

from handler.errors import LoadError
from handler.probabilities.labels import choose_activation, name_labels, problem_type


def test_labels_stand_in_the_order_of_the_logits() -> None:
    names = {str(index): f"label {index}" for index in reversed(range(11))}
    assert name_labels(11, names) == [f"label {index}" for index in range(11)]


def test_index_to_name_wins_over_id2label() -> None:
    assert name_labels(2, {0: "LABEL_0", 1: "LABEL_1"}, {"0": "no", "1": "yes"}) == ["no", "yes"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({0: "a"}, "names 1 labels, the model has 2 outputs; .* 0 to 1"),
        ({0: "a", 2: "b"}, "numbers its labels 0, 2; number them 0 to 1"),
        ({1: "a", 2: "b"}, "numbers its labels 1, 2; number them 0 to 1"),
        ({0: "a", 1: "a"}, "a name of its own"),
        ({0: "a", 1: 7}, "a name of its own, as a string"),
        ({"a": 0, "b": 1}, "must look like"),
        (["a", "b"], "must look like"),
    ],
)
def test_an_output_without_a_name_of_its_own_is_an_error(names: Any, message: str) -> None:
    with pytest.raises(LoadError, match=f"config.json's id2label .*{message}"):
        name_labels(2, names)
    with pytest.raises(LoadError, match=f"index_to_name.json .*{message}"):
        name_labels(2, {}, names)


@pytest.mark.parametrize(
    ("declared", "outputs", "problem", "activation"),
    [
        (None, 2, "single_label_classification", "softmax"),
        ("single_label_classification", 3, "single_label_classification", "softmax"),
        ("multi_label_classification", 3, "multi_label_classification", "sigmoid"),
        (None, 1, "single_logit", "sigmoid"),
    ],
)
def test_the_activation_follows_from_the_problem(
    declared: str | None, outputs: int, problem: str, activation: str
) -> None:
    assert problem_type(declared, outputs) == problem
    assert choose_activation(problem, outputs) == activation


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_regression_has_no_probabilities(outputs: int) -> None:
    with pytest.raises(LoadError, match="no probabilities; if they are logits, set problem_type"):
        choose_activation("regression", outputs)

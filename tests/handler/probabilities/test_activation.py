import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import RequestError
from handler.probabilities.activation import activate, outputs, predictions
from handler.values import Encoding, Prediction

ENCODING = Encoding([1, 2, 3], [0, 0, 0], truncated=True)


def predict(logits: list[float], activation: str = "softmax") -> Prediction | RequestError:
    labels = [f"label {index}" for index in range(len(logits))]
    found = outputs(torch.tensor([logits]), [ENCODING], labels, activation)
    (result,) = predictions(found, [ENCODING], labels)
    return result


def test_softmax_is_over_the_labels_of_each_text() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [math.log(9), 0.0]])
    assert activate(logits, "softmax").tolist() == [
        pytest.approx([0.25, 0.75]),
        pytest.approx([0.9, 0.1]),
    ]


def test_sigmoid_takes_each_label_for_itself() -> None:
    assert activate(torch.tensor([[0.0, math.log(3)]]), "sigmoid").tolist() == [
        pytest.approx([0.5, 0.75])
    ]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_probabilities_are_float32_whatever_the_model_ran_in(precision: torch.dtype) -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    result = activate(logits.to(precision), "softmax")
    assert result.dtype == torch.float32
    assert torch.equal(result, torch.softmax(logits, dim=1))


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=100))
def test_a_map_sums_to_one_and_falls(logits: list[float]) -> None:
    result = predict(logits)
    assert isinstance(result, Prediction)
    values = list(result.probabilities.values())
    assert math.isclose(sum(values), 1.0, abs_tol=1e-5)
    assert values == sorted(values, reverse=True)
    assert result.logits == logits


def test_labels_go_with_their_numbers() -> None:
    result = predict([1.0, 3.0, 2.0], "sigmoid")
    assert isinstance(result, Prediction)
    assert list(result.probabilities) == ["label 1", "label 2", "label 0"]
    assert result.probabilities["label 2"] == pytest.approx(1 / (1 + math.exp(-2)))
    assert (result.tokens, result.truncated) == (3, True)


def test_equal_probabilities_keep_the_order_of_the_labels() -> None:
    result = predict([0.5] * 20)
    assert isinstance(result, Prediction)
    assert list(result.probabilities) == [f"label {index}" for index in range(20)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_that_text_s_error_alone(value: float) -> None:
    logits = torch.tensor([[1.0, 2.0], [value, 1.0]])
    encodings = [ENCODING] * 2
    found = outputs(logits, encodings, ["a", "b"], "softmax")
    good, bad = predictions(found, encodings, ["a", "b"])
    assert isinstance(good, Prediction)
    assert isinstance(bad, RequestError)
    assert (bad.code, bad.status) == ("model_output_invalid", 500)

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import LoadError
from handler.probabilities.activation import outputs, predictions
from handler.probabilities.calibration import CALIBRATION_FILE, Calibration, read_calibration
from handler.values import Encoding, Prediction

LOGITS = torch.tensor([[2.0, -1.0], [0.5, 4.0], [-9.0, 9.0]])
ISOTONIC: dict[str, Any] = {
    "method": "isotonic",
    "logits": [[-1.0, 0.0, 2.0], [0.0, 1.0]],
    "calibrated": [[-3.0, 0.0, 1.0], [-5.0, 5.0]],
}


def calibrated(found: dict[str, Any], activation: str = "softmax") -> torch.Tensor:
    return Calibration(found, 2, activation)(LOGITS)


def test_temperature_divides_all_logits() -> None:
    found = calibrated({"method": "temperature", "temperature": 2.5})
    assert torch.equal(found, LOGITS / 2.5)


@pytest.mark.parametrize(("method", "activation"), [("vector", "softmax"), ("platt", "sigmoid")])
def test_each_label_has_a_factor_and_an_offset(method: str, activation: str) -> None:
    found = calibrated({"method": method, "weights": [2, 0.5], "biases": [1, -1]}, activation)
    assert torch.equal(found, torch.stack([LOGITS[:, 0] * 2 + 1, LOGITS[:, 1] * 0.5 - 1], dim=1))


def test_isotonic_curves_are_lines_between_points_and_flat_beyond() -> None:
    found = calibrated(ISOTONIC, "sigmoid")
    expected = [
        np.interp(LOGITS[:, i].numpy(), ISOTONIC["logits"][i], ISOTONIC["calibrated"][i])
        for i in range(2)
    ]
    assert found.T.tolist() == [pytest.approx(column.tolist()) for column in expected]


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=2), st.floats(0.1, 10))
def test_a_temperature_changes_no_label(logits: list[float], temperature: float) -> None:
    row = torch.tensor([logits])
    found = Calibration({"method": "temperature", "temperature": temperature}, 2, "softmax")(row)
    assert (found[0, 0] > found[0, 1]) <= (row[0, 0] > row[0, 1])
    assert (found[0, 0] < found[0, 1]) <= (row[0, 0] < row[0, 1])


def test_a_text_may_ask_for_the_model_s_own_probabilities() -> None:
    calibration = Calibration({"method": "temperature", "temperature": 3}, 2, "softmax")
    encodings = [
        Encoding([1], [0], False),
        Encoding([1], [0], False, calibrated=False),
        Encoding([1], [0], False, activation="none"),
        Encoding([1], [0], False, activation="softmax"),
    ]
    rows = LOGITS[:1].repeat(4, 1)
    said = outputs(rows, encodings, ["a", "b"], "softmax", calibration)
    found = predictions(said, encodings, ["a", "b"])
    assert all(isinstance(each, Prediction) for each in found)
    own, plain, none, asked = (each for each in found if isinstance(each, Prediction))
    assert own.probabilities == asked.probabilities
    assert own.probabilities["a"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert plain.probabilities["a"] == pytest.approx(1 / (1 + np.exp(-3)))
    assert none.probabilities == {"a": 2.0, "b": -1.0}
    assert own.logits == [2.0, -1.0]
    assert [each.calibrated for each in (own, plain, none, asked)] == [True, False, False, True]
    # what is counted of a model is its own, whatever a caller asked for
    assert plain.confidence == own.confidence == own.probabilities["a"]


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"method": "magic"},
        {"method": "temperature"},
        {"method": "temperature", "temperature": 0},
        {"method": "temperature", "temperature": "1"},
        {"method": "temperature", "temperature": True},
        {"method": "temperature", "temperature": float("inf")},
        {"method": "temperature", "temperature": [1.0, 1.0]},
        {"method": "vector", "weights": [1.0, 1.0]},
        {"method": "vector", "weights": [1.0], "biases": [0.0, 0.0]},
        {"method": "platt", "weights": [1.0, 1.0], "biases": [0.0, 0.0]},
        {"method": "vector", "weights": [5.27, -3.31], "biases": [0.0, 0.0]},
        {"method": "vector", "weights": [1.0, 0.0], "biases": [0.0, 0.0]},
    ],
)
def test_numbers_that_do_not_fit_stop_the_load(found: dict[str, Any]) -> None:
    with pytest.raises(LoadError, match=CALIBRATION_FILE):
        calibrated(found)


@pytest.mark.parametrize(
    "change",
    [
        {"logits": [[0.0, 1.0]]},
        {"logits": [[-1.0, 0.0, 2.0], [1.0, 1.0]]},
        {"logits": [[-1.0, 0.0, 2.0], [1.0, 0.0]]},
        {"logits": [[-1.0, 0.0, 2.0], [1.0]], "calibrated": [[-3.0, 0.0, 1.0], [1.0]]},
        {"calibrated": [[-3.0, 0.0], [-5.0, 5.0]]},
        {"calibrated": [[-3.0, 0.0, 1.0], [5.0, -5.0]]},
        {"calibrated": [[-3.0, 0.0, None], [-5.0, 5.0]]},
        {"calibrated": [3.0, [-5.0, 5.0]]},
        {"calibrated": "none"},
    ],
)
def test_curves_that_are_none_stop_the_load(change: dict[str, Any]) -> None:
    with pytest.raises(LoadError, match=CALIBRATION_FILE):
        calibrated({**ISOTONIC, **change}, "sigmoid")


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_a_file_that_holds_no_object_stops_the_load(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CALIBRATION_FILE).write_bytes(content)
    with pytest.raises(LoadError, match="bertserve calibrate"):
        read_calibration(tmp_path)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps(ISOTONIC))
    assert read_calibration(tmp_path) == ISOTONIC

from typing import Any

import pytest
import torch

from handler.errors import LoadError
from handler.probabilities.decisions import Decisions

LABELS = ["a", "b", "c"]
SURE, UNSURE = [0.1, 0.8, 0.1], [0.4, 0.35, 0.25]


def decide(levels: dict[str, Any], *rows: list[float], activation: str = "softmax") -> Any:
    return Decisions(LABELS, activation, levels)(torch.tensor(rows))


def test_without_levels_the_most_probable_label_is_decided() -> None:
    sure, unsure = decide({}, SURE, UNSURE)
    assert (sure.label, unsure.label) == ("b", "a")
    assert (sure.labels, sure.chosen, sure.coverage) == (None, None, None)


def test_a_label_below_the_threshold_is_none() -> None:
    assert [each.label for each in decide({"threshold": 0.5}, SURE, UNSURE)] == ["b", None]


def test_a_label_at_the_threshold_is_decided() -> None:
    (each,) = decide({"threshold": 0.5}, [0.25, 0.5, 0.25])
    assert each.label == "b"


def test_a_set_holds_the_labels_that_reach_its_level_the_most_probable_first() -> None:
    levels = {"sets": {"coverage": 0.9, "level": 0.3}}
    sure, unsure, neither = decide(levels, SURE, [0.32, 0.4, 0.28], [0.25] * 3)
    assert (sure.chosen, unsure.chosen, neither.chosen) == (["b"], ["b", "a"], [])
    assert sure.coverage == 0.9


def test_margins() -> None:
    sure, unsure = decide({}, SURE, UNSURE)
    assert (sure.margin, unsure.margin) == (pytest.approx(0.7), pytest.approx(0.05))
    (each,) = decide({"thresholds": [0.5, 0.2, 0.9]}, [0.9, 0.25, 0.1], activation="sigmoid")
    assert each.margin == pytest.approx(0.05)


def test_independent_labels_have_thresholds_of_their_own() -> None:
    levels = {"thresholds": [0.9, 0.2, 0.5]}
    several, none = decide(levels, [0.8, 0.3, 0.6], [0.8, 0.1, 0.4], activation="sigmoid")
    assert (several.labels, several.label) == (["c", "b"], "c")  # the most probable is not there
    assert (none.labels, none.label) == ([], None)


def test_a_label_may_never_be_answered() -> None:
    levels = {"thresholds": [None, 0.2, None]}
    (each,) = decide(levels, [1.0, 0.3, 0.6], activation="sigmoid")
    assert (each.labels, each.label) == (["b"], "b")
    assert each.margin == pytest.approx(0.1)


def test_independent_labels_without_thresholds_are_those_from_one_half() -> None:
    several, none = decide({}, [0.5, 0.3, 0.6], [0.1] * 3, activation="sigmoid")
    assert (several.labels, several.label) == (["c", "a"], "c")
    assert (none.labels, none.label) == ([], None)


def test_a_decision_without_the_archive_s_levels() -> None:
    decisions = Decisions(
        LABELS, "softmax", {"threshold": 0.9, "sets": {"coverage": 0.9, "level": 0}}
    )
    (each,) = decisions.plain(torch.tensor([SURE]))
    assert (each.label, each.chosen, each.coverage) == ("b", None, None)


@pytest.mark.parametrize(
    ("activation", "levels"),
    [
        ("softmax", {"threshold": 2}),
        ("softmax", {"threshold": "0.5"}),
        ("softmax", {"threshold": True}),
        ("softmax", {"threshold": float("nan")}),
        ("softmax", {"threshold": None}),
        ("softmax", {"thresholds": [0.5] * 3}),
        ("softmax", {"sets": {"coverage": 0.9}}),
        ("softmax", {"sets": [0.9, 0.1]}),
        ("softmax", {"sets": {"coverage": 0.9, "level": -1}}),
        ("sigmoid", {"threshold": 0.5}),
        ("sigmoid", {"thresholds": [0.5]}),
        ("sigmoid", {"thresholds": 0.5}),
        ("sigmoid", {"sets": {"coverage": 0.9, "level": 0.1}}),
    ],
)
def test_levels_that_do_not_fit_stop_the_load(activation: str, levels: dict[str, Any]) -> None:
    with pytest.raises(LoadError, match=r"calibration\.json"):
        Decisions(LABELS, activation, levels)

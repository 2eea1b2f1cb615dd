import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertserve.quality.calibration.thresholds import (
    kept,
    precision_bounds,
    set_level,
    sets,
    threshold_for_coverage,
    threshold_for_precision,
    thresholds_for_precision,
)

RANDOM = np.random.default_rng(0)


def true_probabilities(texts: int, labels: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are true: right labels are drawn from them."""
    probabilities = RANDOM.dirichlet([0.3] * labels, texts)
    drawn = (RANDOM.random((texts, 1)) < probabilities.cumsum(axis=1)).argmax(axis=1)
    return probabilities, np.eye(labels, dtype=bool)[drawn]


def two(confidence: list[float], correct: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of two labels, the first the likelier."""
    first = np.array(confidence)
    right = np.array(correct, dtype=bool)
    return np.stack([first, 1 - first], axis=1), np.stack([right, ~right], axis=1)


def test_bounds_are_those_of_the_binomial_distribution() -> None:
    """At the bound, so many or more are right just once in twenty times."""
    for right, count in ((95, 100), (1, 1), (3, 7), (40, 40)):
        (bound,) = precision_bounds(np.array([right]), np.array([count]))
        tail = sum(
            math.comb(count, k) * bound**k * (1 - bound) ** (count - k)
            for k in range(right, count + 1)
        )
        assert tail == pytest.approx(0.05)
    assert precision_bounds(np.array([0]), np.array([5])) == [0]


def test_the_lowest_threshold_that_is_right_often_enough() -> None:
    confidence = np.linspace(0.99, 0.6, 300).tolist()
    correct = [number < 200 or number % 2 for number in range(300)]
    probabilities, right = two(confidence, correct)
    threshold = threshold_for_precision(probabilities, right, 0.9)
    assert threshold is not None
    answered = kept(probabilities, right, threshold)
    assert answered.precision is not None
    assert 0.9 < answered.precision < 0.95
    lower = kept(probabilities, right, threshold - 0.0014)  # one text more
    assert lower.coverage > answered.coverage
    count = round(lower.coverage * 300)
    bound = precision_bounds(np.array([round((lower.precision or 0) * count)]), np.array([count]))
    assert bound < 0.9


def test_texts_of_one_confidence_are_kept_together() -> None:
    probabilities, right = two([0.9] * 120 + [0.8] * 80, [1] * 120 + [1, 0] * 40)
    assert threshold_for_precision(probabilities, right, 0.9) == 0.9
    assert threshold_for_precision(probabilities, right, 0.7) == 0.8


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [([0.9] * 20, [1, 0] * 10), ([0.99] * 12, [1] * 12)],
    ids=["half of them are wrong", "they are few"],
)
def test_a_precision_that_cannot_be_had(confidence: list[float], correct: list[int]) -> None:
    probabilities, right = two(confidence, correct)
    assert threshold_for_precision(probabilities, right, 0.9) is None
    assert kept(probabilities, right, 1.01).precision is None


def test_a_precision_is_reached_on_fresh_texts() -> None:
    """Nearly always: each bound holds 19 times in 20, and one of many is taken."""
    reached = []
    for _ in range(60):
        probabilities, right = true_probabilities(600)
        threshold = threshold_for_precision(probabilities, right, 0.85)
        if threshold is not None:
            fresh = kept(*true_probabilities(20_000), threshold)
            reached.append((fresh.precision or 0) >= 0.85)
    assert len(reached) > 50
    assert np.mean(reached) > 0.8


def test_a_threshold_for_a_coverage() -> None:
    probabilities, right = two([0.95, 0.9, 0.8, 0.7], [1, 1, 1, 0])
    for wanted, expected in ((0.25, 0.95), (0.5, 0.9), (0.51, 0.8), (0.99, 0.7), (0.01, 0.95)):
        assert threshold_for_coverage(probabilities, right, wanted) == expected


def test_independent_labels_have_thresholds_of_their_own() -> None:
    falling = np.linspace(0.9, 0.1, 400)
    right = np.stack([falling > 0.6, falling > 0.3, np.zeros(400, bool)], axis=1)
    first, second, never = thresholds_for_precision(np.stack([falling] * 3, axis=1), right, 0.9)
    assert first is not None
    assert second is not None
    assert 0.55 < first < 0.6
    assert 0.25 < second < 0.3
    assert never is None


@pytest.mark.parametrize("wanted", [0.9, 0.95, 0.99])
def test_sets_hold_the_right_label_as_often_as_wanted(wanted: float) -> None:
    """Of other texts that are drawn alike, whatever the model; here one that is far too sure."""
    probabilities, right = true_probabilities(8000)
    spoilt = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    for model in (probabilities, spoilt):
        level = set_level(model[:4000], right[:4000], wanted)
        found = sets(model[4000:], right[4000:], level)
        assert found.coverage == pytest.approx(wanted, abs=0.015)
        assert found.mean_size < 5


def test_a_set_level_is_the_quantile_for_finite_samples() -> None:
    probabilities, right = two([i / 100 for i in range(1, 100)], [1] * 99)
    # of 99 texts and the next one, 5 of 100 may miss theirs
    assert set_level(probabilities, right, 0.95) == pytest.approx(0.05)
    assert set_level(probabilities[:18], right[:18], 0.95) == 0.0  # too few: every label
    assert set_level(probabilities[:19], right[:19], 0.95) == pytest.approx(0.01)


@given(st.integers(20, 60), st.floats(0.5, 0.99))
def test_a_threshold_keeps_its_word_on_its_own_texts(texts: int, wanted: float) -> None:
    probabilities, right = true_probabilities(texts)
    threshold = threshold_for_precision(probabilities, right, wanted)
    if threshold is not None:
        assert (kept(probabilities, right, threshold).precision or 0) >= wanted


def test_sets_are_counted() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.3, 0.3, 0.3]])
    right = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=bool)
    found = sets(probabilities, right, 0.34)
    assert (found.coverage, found.mean_size, found.empty) == pytest.approx((1 / 3, 1, 1 / 3))

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertserve.levels import (
    NEVER,
    kept,
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


def test_the_lowest_threshold_that_is_right_often_enough() -> None:
    confidence = [0.99 - i / 100 for i in range(20)]
    correct = [1] * 12 + [0] + [1] * 4 + [0] * 3
    probabilities, right = two(confidence, correct)
    threshold = threshold_for_precision(probabilities, right, 0.94)
    assert threshold == pytest.approx(confidence[16])  # 16 of 17
    assert kept(probabilities, right, threshold).precision == pytest.approx(16 / 17)
    assert kept(probabilities, right, threshold).coverage == 17 / 20


def test_texts_of_one_confidence_are_kept_together() -> None:
    probabilities, right = two([0.9] * 12 + [0.8] * 8, [1] * 12 + [1, 0] * 4)
    assert threshold_for_precision(probabilities, right, 0.9) == pytest.approx(0.9)
    assert threshold_for_precision(probabilities, right, 0.8) == pytest.approx(0.8)


def test_a_precision_that_cannot_be_had() -> None:
    probabilities, right = two([0.9] * 20, [1, 0] * 10)
    assert threshold_for_precision(probabilities, right, 0.9) == NEVER
    assert kept(probabilities, right, NEVER).precision is None


def test_few_lucky_texts_do_not_make_a_threshold() -> None:
    probabilities, right = two([0.99] * 3 + [0.6] * 30, [1] * 3 + [1, 0] * 15)
    assert threshold_for_precision(probabilities, right, 0.95) == NEVER


def test_a_threshold_for_a_coverage() -> None:
    probabilities, right = two([0.95, 0.9, 0.8, 0.7], [1, 1, 1, 0])
    for wanted, expected in ((0.25, 0.95), (0.5, 0.9), (0.51, 0.8), (0.99, 0.7), (0.01, 0.95)):
        assert threshold_for_coverage(probabilities, right, wanted) == expected


def test_independent_labels_have_thresholds_of_their_own() -> None:
    falling = np.linspace(0.9, 0.1, 40)
    right = np.stack([falling > 0.6, falling > 0.3, np.zeros(40, bool)], axis=1)
    found = thresholds_for_precision(np.stack([falling] * 3, axis=1), right, 0.999)
    assert found == [falling[falling > 0.6].min(), falling[falling > 0.3].min(), NEVER]


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
    precision = kept(probabilities, right, threshold).precision
    assert precision is None or precision >= wanted - 1e-12


def test_sets_are_counted() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.3, 0.3, 0.3]])
    right = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=bool)
    found = sets(probabilities, right, 0.34)
    assert (found.coverage, found.mean_size, found.empty) == pytest.approx((1 / 3, 1, 1 / 3))

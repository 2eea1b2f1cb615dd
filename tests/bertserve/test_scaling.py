import numpy as np
import pytest
from scipy import special
from sklearn.metrics import log_loss

from bertserve.errors import ConfigError
from bertserve.scaling import apply, check_method, fit, plain


def drawn(independent: bool, texts: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities are true, and right labels that are drawn from these."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (texts, 4))
    if independent:
        return logits, random.random(logits.shape) < special.expit(logits)
    chosen = (random.random((texts, 1)) < special.softmax(logits, axis=1).cumsum(axis=1)).argmax(1)
    return logits, np.eye(4, dtype=bool)[chosen]


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_temperature_that_spoilt_logits_is_found(independent: bool, temperature: float) -> None:
    logits, right = drawn(independent)
    found = fit(logits * temperature, right, "temperature", independent=independent)
    assert found["temperature"] == pytest.approx(temperature, rel=0.06)


def test_a_temperature_has_the_least_loss() -> None:
    """By looking at many of them."""
    logits, right = drawn(False, 500)
    found = fit(logits * 1.7, right, "temperature", independent=False)["temperature"]
    losses = {
        t: log_loss(right.argmax(axis=1), special.softmax(logits * 1.7 / t, axis=1))
        for t in np.linspace(1, 3, 401)
    }
    assert found == pytest.approx(min(losses, key=lambda t: losses[t]), abs=0.006)


def test_vector_scaling_finds_factors_and_offsets() -> None:
    logits, right = drawn(False, 20000)
    factors, offsets = np.array([2.0, 1.0, 0.5, 1.5]), np.array([1.0, 0.0, -1.0, 0.5])
    found = fit((logits - offsets) / factors, right, "vector", independent=False)
    assert found["weights"] == pytest.approx(factors, rel=0.15)
    moved = np.array(found["biases"]) - found["biases"][1]  # only differences matter
    assert moved == pytest.approx(offsets, abs=0.15)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_independent_labels_are_mended_each_for_itself(method: str) -> None:
    logits, right = drawn(True, 20000)
    spoilt = logits * [3.0, 1.0, 0.3, 1.0] + [1.0, 0.0, -1.0, 2.0]
    numbers = fit(spoilt[::2], right[::2], method, independent=True)
    found = apply(numbers, spoilt[1::2], independent=True)
    true = special.expit(logits[1::2])
    spoilt_by = np.abs(plain(spoilt[1::2], independent=True) - true).mean(axis=0)
    left = np.abs(found - true).mean(axis=0)
    assert (left < 0.03).all()
    assert (left[[0, 2, 3]] < spoilt_by[[0, 2, 3]] / 4).all()


@pytest.mark.parametrize("spread", [1.0, 0.02])
def test_platt_finds_the_greatest_likelihood_whatever_the_scale(spread: float) -> None:
    logits, right = drawn(True, 5000)
    found = fit(logits * spread, right, "platt", independent=True)
    assert np.array(found["weights"]) * spread == pytest.approx(np.ones(4), rel=0.1)


def test_platt_keeps_its_head_where_labels_are_parted() -> None:
    logits = np.linspace(-3, 3, 60)[:, None]
    numbers = fit(logits, logits > 0, "platt", independent=True)
    found = apply(numbers, logits, independent=True)
    assert 0.9 < found.max() < 1


@pytest.mark.parametrize("method", ["platt", "isotonic", "temperature"])
def test_labels_that_no_text_has_or_all_have(method: str) -> None:
    logits, right = drawn(True, 200)
    right[:, 0], right[:, 1] = False, True
    found = apply(fit(logits, right, method, independent=True), logits, independent=True)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("method", "independent"), [("vector", False), ("isotonic", True)])
def test_a_single_text_and_equal_logits_break_nothing(method: str, independent: bool) -> None:
    right = np.zeros((6, 3), dtype=bool)
    right[np.arange(6), [0, 0, 1, 1, 2, 2]] = True
    numbers = fit(np.ones((6, 3)), right, method, independent=independent)
    assert np.isfinite(apply(numbers, np.ones((6, 3)), independent=independent)).all()


@pytest.mark.parametrize(
    ("method", "independent", "message"),
    [
        ("vector", True, "take platt"),
        ("platt", False, "take temperature or vector"),
        ("isotonic", False, "take temperature or vector"),
        ("magic", False, "known are temperature, vector, platt, isotonic"),
    ],
)
def test_a_method_is_for_some_labels(method: str, independent: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_method(method, independent=independent)

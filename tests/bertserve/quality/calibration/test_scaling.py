import numpy as np
import pytest
from scipy import special
from sklearn.metrics import log_loss

from bertserve.errors import ConfigError
from bertserve.quality.calibration.scaling import apply, bearable, check_method, fit, plain


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
    """By looking at many of them; that half of a text counts as wrong moves it by little."""
    logits, right = drawn(False, 500)
    found = fit(logits * 1.7, right, "temperature", independent=False)["temperature"]
    losses = {
        t: log_loss(right.argmax(axis=1), special.softmax(logits * 1.7 / t, axis=1))
        for t in np.linspace(1, 3, 401)
    }
    assert found == pytest.approx(min(losses, key=lambda t: losses[t]), abs=0.015)


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


def test_isotonic_claims_no_more_than_a_step_s_texts_bear() -> None:
    """Three texts of a hundred have the label: what is like them has it with (3 + ½) / (3 + 1)."""
    logits = np.concatenate([np.linspace(-6, -2, 97), [1.0, 2.0, 3.0]])[:, None]
    right = logits > 0
    numbers = fit(logits, right, "isotonic", independent=True)
    far = np.array([[-50.0], [-4.5], [2.0], [50.0]])
    found = apply(numbers, far, independent=True)[:, 0]
    assert found == pytest.approx([0.5 / 98, 0.5 / 98, 3.5 / 4, 3.5 / 4], abs=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("texts", [60, 1000])
def test_what_isotonic_is_sure_of_is_so_as_often(texts: int, share: float) -> None:
    """Of fresh texts, over many fits, at either end."""
    random = np.random.default_rng(texts)
    middle = special.logit(share)
    claimed, true = [], []
    for _ in range(60):
        logits = random.normal(middle, 3, (texts, 1))
        right = random.random(logits.shape) < special.expit(logits)
        numbers = fit(logits, right, "isotonic", independent=True)
        fresh = random.normal(middle, 3, (1000, 1))
        found = apply(numbers, fresh, independent=True)
        assert found.max() <= bearable(texts, texts) + 1e-6
        claimed += [found, 1 - found]
        true += [special.expit(fresh), special.expit(-fresh)]
    said, so = np.concatenate(claimed), np.concatenate(true)
    for low, high in ((0.9, 0.97), (0.97, 0.99), (0.99, 0.999), (0.999, 1)):
        inside = (said >= low) & (said < high)
        if inside.sum() > 1000:
            assert so[inside].mean() >= said[inside].mean() - 0.003


def test_a_rounded_logit_moves_no_probability() -> None:
    """Logits as close as floats are: no line between steps is as good as upright."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (3000, 4))
    right = random.random(logits.shape) < special.expit(3 * logits)
    numbers = fit(logits, right, "isotonic", independent=True)
    moved = apply(numbers, logits + 1e-6, independent=True)
    assert np.abs(moved - apply(numbers, logits, independent=True)).max() < 5e-5
    widths = [np.diff(points).min() for points in numbers["logits"]]
    assert min(widths) > 0.1


def test_a_label_s_logits_may_be_large_and_alike() -> None:
    logits = 1e6 + np.linspace(0, 1, 80)[:, None]
    numbers = fit(logits, logits > logits.mean(), "isotonic", independent=True)
    assert np.isfinite(apply(numbers, logits, independent=True)).all()


def turned(probabilities: np.ndarray) -> bool:
    """Whether a label's probability falls anywhere while its logit rises, [logits]."""
    return bool((np.diff(probabilities) < -1e-7).any())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("texts", [50, 300])
def test_two_labels_have_factors_that_turn_nothing_round(seed: int, texts: int) -> None:
    """Logits that mirror each other, but for noise: nothing but the noise tells the factors apart."""
    random = np.random.default_rng(seed)
    first = random.normal(0, 2, texts)
    logits = np.stack([first, -first + random.normal(0, 0.05, texts)], axis=1)
    drawn = random.random(texts) < special.expit(first)
    right = np.stack([drawn, ~drawn], axis=1)
    numbers = fit(logits, right, "vector", independent=False)
    assert all(0.1 < weight < 2 for weight in numbers["weights"])
    assert numbers["weights"][0] == pytest.approx(numbers["weights"][1], rel=0.2)
    rising = np.stack([np.linspace(-8, 8, 200), np.zeros(200)], axis=1)
    assert not turned(apply(numbers, rising, independent=False)[:, 0])
    assert not turned(apply(numbers, rising[:, ::-1].copy(), independent=False)[:, 1])


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_label_whose_logit_speaks_against_it_is_not_turned_round(method: str) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (400, 2))
    right = random.random(logits.shape) < special.expit([1, -1] * logits)
    found = apply(fit(logits, right, method, independent=True), logits, independent=True)
    order = logits[:, 1].argsort()
    assert not turned(found[order, 1])
    assert found[:, 1] == pytest.approx(right[:, 1].mean(), abs=0.05)
    assert np.ptp(found[:, 0]) > 0.6


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_texts_that_are_all_right_make_no_certainty(method: str) -> None:
    random = np.random.default_rng(0)
    right = np.eye(4, dtype=bool)[random.integers(0, 4, 60)]
    logits = right * 4.0 + random.normal(0, 0.3, right.shape)
    found = apply(fit(logits, right, method, independent=False), logits, independent=False)
    assert found.max(axis=1).mean() == pytest.approx(bearable(60, 60), abs=0.004)


def test_a_label_that_no_text_has_claims_what_all_of_them_bear() -> None:
    logits, right = drawn(True, 200)
    right[:, 0] = False
    numbers = fit(logits, right, "isotonic", independent=True)
    found = apply(numbers, np.full((1, 4), 30.0), independent=True)
    assert found[0, 0] == pytest.approx(bearable(200, 200), abs=1e-6)

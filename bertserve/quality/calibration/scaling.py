"""Fits of a calibration: logits [texts, labels] and right labels, bool [texts, labels], to its numbers.

    fit(logits, right, "temperature", independent=False)["temperature"]

Temperature scaling divides all logits by one number, so that no text gets another label. Vector scaling
has a factor and an offset for each label. Platt scaling and isotonic regression are for labels that are
independent, each for itself. The handler computes with the numbers, see handler/probabilities.

Whatever the method, a higher logit never makes its own label less probable, and no fit claims more than
its texts bear: n texts that are all right bear (n + ½) / (n + 1), the mean of Jeffreys' posterior.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import optimize, special

from ...errors import ConfigError
from ...handler.probabilities import FOR_INDEPENDENT_LABELS, METHODS, Calibration, activate
from ..metrics import Bools, Floats

_TEMPERATURES = (0.05, 20.0)
_SPREAD = 0.5  # of logarithms of factors of vector scaling, as its prior has it
_FLATTEST = 0.01  # factor of Platt scaling, of logits whose standard deviation is 1
_CELLS = 10  # of isotonic regression in a standard deviation of the logits
_FINEST = 1e-4  # cell, as a share of the largest logit
_DIGITS = 7  # significant ones, as float32 has them

Numbers = dict[str, Any]


def fit(logits: Floats, right: Bools, method: str, *, independent: bool) -> Numbers:
    """The numbers of a method: the least negative log likelihood, by isotonic the least squares."""
    return _FITS[method](logits, right, independent)


def check_method(method: str, *, independent: bool) -> None:
    """ConfigError where a method is not for such labels."""
    if method not in METHODS:
        raise ConfigError(
            f"{method} is no method of calibration; known are {', '.join(METHODS)}, and all"
        )
    if independent and method == "vector":
        raise ConfigError("vector scaling is for labels of which one is right; take platt")
    if not independent and method in FOR_INDEPENDENT_LABELS:
        raise ConfigError(
            f"{method} is for labels that are independent; take temperature or vector"
        )


def methods_for(*, independent: bool) -> list[str]:
    """The methods for such labels, those that have little to learn first."""
    return ["temperature", "platt", "isotonic"] if independent else ["temperature", "vector"]


def apply(numbers: Numbers, logits: Floats, *, independent: bool) -> Floats:
    """Calibrated probabilities [texts, labels], computed as the handler does."""
    activation = "sigmoid" if independent else "softmax"
    calibration = Calibration(numbers, logits.shape[1], activation)
    found = activate(calibration(torch.from_numpy(logits)), activation)
    return np.asarray(found.numpy(), dtype=np.float64)


def plain(logits: Floats, *, independent: bool) -> Floats:
    """Probabilities [texts, labels] without calibration, computed as the handler does."""
    found = activate(torch.from_numpy(logits), "sigmoid" if independent else "softmax")
    return np.asarray(found.numpy(), dtype=np.float64)


def bearable(right: Any, texts: Any) -> Any:
    """The probability that is borne by so many right ones among so many texts."""
    return (right + 0.5) / (texts + 1)


def learnable(right: Bools) -> Bools:
    """Labels that some texts have and others have not, bool [labels]; of others nothing can be learnt."""
    return np.asarray(right.any(axis=0) & ~right.all(axis=0))


def _fit_temperature(logits: Floats, right: Bools, independent: bool) -> Numbers:
    targets = _targets(right, independent)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if independent:
            of_labels = targets * special.log_expit(scaled)
            return float(-(of_labels + (1 - targets) * special.log_expit(-scaled)).sum())
        return float(-(targets * special.log_softmax(scaled, axis=1)).sum())

    bounds = tuple(map(np.log, _TEMPERATURES))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return {"method": "temperature", "temperature": _rounded(np.exp(found.x))}


def _fit_vector(logits: Floats, right: Bools, _: bool) -> Numbers:
    """Factors are positive, and alike where the texts do not tell them apart.

    Of two labels only the difference of their scaled logits matters, so their factors are told apart by
    noise alone: a prior on the logarithms, normal around their mean, decides.
    """
    texts, labels = logits.shape
    targets = _targets(right, independent=False)

    def loss(numbers: Floats) -> tuple[float, Floats]:
        logarithms, biases = numbers.reshape(2, labels)
        weights, apart = np.exp(logarithms), (logarithms - logarithms.mean()) / _SPREAD
        scaled = logits * weights + biases
        surplus = special.softmax(scaled, axis=1) - targets
        of_weights = (surplus * logits).sum(axis=0) * weights + apart / _SPREAD
        value = -(targets * special.log_softmax(scaled, axis=1)).sum() + apart @ apart / 2
        return value / texts, np.concatenate([of_weights, surplus.sum(axis=0)]) / texts

    begin = np.zeros(2 * labels)
    found = optimize.minimize(loss, begin, jac=True, method="L-BFGS-B").x.reshape(2, -1)
    return {
        "method": "vector",
        "weights": _rounded(np.exp(found[0])),
        "biases": _rounded(found[1]),
    }


def _targets(right: Bools, independent: bool) -> Floats:
    """What probabilities are fitted to: half of a text less than all are right, [texts, labels].

    So a fit stays finite where all texts are right. Where one label is right, the others share the rest.
    """
    texts, labels = right.shape
    most = bearable(right.size, right.size) if independent else bearable(texts, texts)
    return np.asarray(np.where(right, most, (1 - most) / (1 if independent else labels - 1)))


def _fit_platt(logits: Floats, right: Bools, _: bool) -> Numbers:
    weights, biases = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    for i in np.flatnonzero(learnable(right)):
        column, truth = logits[:, i], right[:, i]
        if (spread := column.std()) == 0:
            continue
        # Platt's own targets, a little short of 0 and 1, keep the factor finite where labels are parted
        positives, texts = truth.sum(), len(truth)
        targets = np.where(truth, (positives + 1) / (positives + 2), 1 / (texts - positives + 2))
        slope, offset = _fit_line((column - column.mean()) / spread, targets)
        weights[i] = slope / spread
        biases[i] = offset - column.mean() * weights[i]
    return {"method": "platt", "weights": _rounded(weights), "biases": _rounded(biases)}


def _fit_line(values: Floats, targets: Floats) -> tuple[float, float]:
    """Slope and offset of logistic regression; the slope is positive, if need be hardly so."""

    def loss(line: Floats) -> tuple[float, Floats]:
        scaled = values * line[0] + line[1]
        value = -(targets * special.log_expit(scaled) + (1 - targets) * special.log_expit(-scaled))
        surplus = special.expit(scaled) - targets
        return float(value.mean()), np.array([(surplus * values).mean(), surplus.mean()])

    bounds = [(_FLATTEST, None), (None, None)]
    options = {"ftol": 1e-12, "gtol": 1e-8}
    begin = np.array([1.0, special.logit(targets.mean())])
    found = optimize.minimize(loss, begin, jac=True, bounds=bounds, options=options).x
    return float(found[0]), float(found[1])


def _fit_isotonic(logits: Floats, right: Bools, _: bool) -> Numbers:
    """Points that rise, joined by lines.

    A label that nothing can be learnt of keeps its logits, as far as so many texts could bear them.
    """
    most = special.logit(bearable(len(right), len(right)))
    curves = [([-most, most], [-most, most])] * logits.shape[1]
    for i in np.flatnonzero(learnable(right)):
        curves[i] = _steps(logits[:, i], right[:, i])
    return {
        "method": "isotonic",
        "logits": [_rounded(points) for points, _ in curves],
        "calibrated": [_rounded(results) for _, results in curves],
    }


def _steps(column: Floats, truth: Bools) -> tuple[list[float], list[float]]:
    """Points of a label's curve: steps by pooling adjacent violators, each at the mean of its logits.

    Centred isotonic regression (Oron and Flournoy, 2017): a step that stood at its claim from its first
    text to its last would claim too much at its inner end. Logits are put into cells first, so that a
    line between points is as wide as a cell at least: on one that is as good as upright, the noise of a
    float's last digits would choose the probability.
    """
    width = max(column.std() / _CELLS, np.abs(column).max() * _FINEST) or 1.0
    cells, places = np.unique(np.round(column / width), return_inverse=True)
    texts = np.bincount(places)
    steps: list[Floats] = []  # of each right ones, texts, and the sum of their logits
    for step in np.stack([np.bincount(places, truth), texts, texts * cells * width], axis=1):
        while steps and bearable(*steps[-1][:2]) >= bearable(*step[:2]):
            step = steps.pop() + step
        steps.append(step)
    points = [float(logits / count) for _, count, logits in steps]
    results = [float(special.logit(bearable(right, count))) for right, count, _ in steps]
    if len(points) == 1:
        return [points[0], points[0] + width], results * 2
    return points, results


_FITS: dict[str, Callable[[Floats, Bools, bool], Numbers]] = {
    "temperature": _fit_temperature,
    "vector": _fit_vector,
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
}


def _rounded(value: Any) -> Any:
    """To significant digits, so that small numbers stay what they are."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return [_rounded(float(each)) for each in value]

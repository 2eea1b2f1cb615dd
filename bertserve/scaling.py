"""Fits of a calibration: logits [texts, labels] and right labels, bool [texts, labels], to its numbers.

    fit(logits, right, "temperature", independent=False)["temperature"]

Temperature scaling divides all logits by one number, so that no text gets another label. Vector scaling
has a factor and an offset for each label. Platt scaling and isotonic regression are for labels that are
independent, each for itself. The handler computes with the numbers, see handler/calibration_file.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import optimize, special
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from .errors import ConfigError
from .handler.calibration import Calibration
from .handler.calibration_file import FOR_INDEPENDENT_LABELS, METHODS
from .handler.probabilities import activate
from .judging import Bools, Floats

_TEMPERATURES = (0.05, 20.0)
_HIGHEST = 12.0  # of a logit that isotonic regression gives; its probability is 1 - 6e-6
_DIGITS = 6

Numbers = dict[str, Any]


def fit(logits: Floats, right: Bools, method: str, *, independent: bool) -> Numbers:
    """The numbers of a method: the least negative log likelihood, by isotonic the least squares."""
    return _FITS[method](logits, right, independent)


def check_method(method: str, *, independent: bool) -> None:
    """ConfigError where a method is not for such labels."""
    if method not in METHODS:
        raise ConfigError(f"{method} is no method of calibration; known are {', '.join(METHODS)}")
    if independent and method == "vector":
        raise ConfigError("vector scaling is for labels of which one is right; take platt")
    if not independent and method in FOR_INDEPENDENT_LABELS:
        raise ConfigError(
            f"{method} is for labels that are independent; take temperature or vector"
        )


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


def _fit_temperature(logits: Floats, right: Bools, independent: bool) -> Numbers:
    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if independent:
            return float(-special.log_expit(np.where(right, scaled, -scaled)).sum())
        return float(-special.log_softmax(scaled, axis=1)[right].sum())

    bounds = tuple(map(np.log, _TEMPERATURES))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return {"method": "temperature", "temperature": _rounded(np.exp(found.x))}


def _fit_vector(logits: Floats, right: Bools, _: bool) -> Numbers:
    texts, labels = logits.shape

    def loss(numbers: Floats) -> tuple[float, Floats]:
        weights, biases = numbers.reshape(2, labels)
        scaled = logits * weights + biases
        surplus = special.softmax(scaled, axis=1) - right
        gradient = np.concatenate([(surplus * logits).sum(axis=0), surplus.sum(axis=0)])
        return float(-special.log_softmax(scaled, axis=1)[right].sum() / texts), gradient / texts

    begin = np.concatenate([np.ones(labels), np.zeros(labels)])
    weights, biases = optimize.minimize(loss, begin, jac=True, method="L-BFGS-B").x.reshape(2, -1)
    return {"method": "vector", "weights": _rounded(weights), "biases": _rounded(biases)}


def _fit_platt(logits: Floats, right: Bools, _: bool) -> Numbers:
    weights, biases = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    for i in _learnable(right):
        column, truth = logits[:, i], right[:, i]
        if (spread := column.std()) == 0:
            continue
        # Platt's own targets, a little short of 0 and 1, keep the factor finite where labels are parted
        positives, texts = truth.sum(), len(truth)
        share = np.where(truth, (positives + 1) / (positives + 2), 1 / (texts - positives + 2))
        model = LogisticRegression(C=np.inf).fit(
            np.tile((column - column.mean()) / spread, 2)[:, None],
            np.repeat([True, False], texts),
            sample_weight=np.concatenate([share, 1 - share]),
        )
        weights[i] = model.coef_[0, 0] / spread
        biases[i] = model.intercept_[0] - column.mean() * weights[i]
    return {"method": "platt", "weights": _rounded(weights), "biases": _rounded(biases)}


def _fit_isotonic(logits: Floats, right: Bools, _: bool) -> Numbers:
    """Steps that rise, joined by lines; a label that nothing can be learnt of keeps its logits."""
    curves = [([-_HIGHEST, _HIGHEST], [-_HIGHEST, _HIGHEST])] * logits.shape[1]
    for i in _learnable(right):
        model = IsotonicRegression(y_min=0, y_max=1).fit(logits[:, i], right[:, i])
        points, first = np.unique(model.X_thresholds_.round(_DIGITS), return_index=True)
        results = special.logit(model.y_thresholds_[first]).clip(-_HIGHEST, _HIGHEST)
        if len(points) > 1:
            curves[i] = (_rounded(points), _rounded(results))
    return {
        "method": "isotonic",
        "logits": [points for points, _ in curves],
        "calibrated": [results for _, results in curves],
    }


_FITS: dict[str, Callable[[Floats, Bools, bool], Numbers]] = {
    "temperature": _fit_temperature,
    "vector": _fit_vector,
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
}


def _learnable(right: Bools) -> list[int]:
    """Labels that some texts have and others have not."""
    count = right.sum(axis=0)
    return [int(i) for i in np.flatnonzero((count > 0) & (count < len(right)))]


def _rounded(value: Any) -> Any:
    return np.round(value, _DIGITS).tolist()

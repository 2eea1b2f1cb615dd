"""Probabilities that can be believed: find what makes a model's confidence as high as it is right.

    found = calibrate(logits, right, labels)          # what an archive's calibration.json holds
    found["provenance"]["after"]["ece_width"]

Temperature scaling divides all logits by one number, so that no prediction changes. Vector scaling has a
factor and an offset for each label. Platt scaling and isotonic regression are for independent labels, each
for itself. Logits are float [texts, labels], right labels bool [texts, labels]; they must be of texts that
the model was not trained on, for it is more confident, and more often right, on those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from .errors import ConfigError
from .evaluation import (
    bins_of_mass,
    bins_of_width,
    calibration_error,
    negative_log_likelihood,
    predictions,
)

FOLDS = 5
_TEMPERATURES = (0.05, 20.0)
_SEEN = 0.995  # accuracy from which on the texts look like those of the training
_FEWEST = 50  # texts
_HIGHEST = 12.0  # of a logit that isotonic regression gives; its probability is 1 - 6e-6
_DIGITS = 6

Logits = NDArray[np.float64]
Right = NDArray[np.bool_]
Numbers = dict[str, Any]


def calibrate(logits: Logits, right: Right, method: str, *, independent: bool) -> Numbers:
    """Fit a method, and estimate by cross-validation what it brings on texts it was not fitted on."""
    if method not in _FITS:
        raise ConfigError(f"{method} is no method of calibration; known are {', '.join(_FITS)}")
    if independent and method == "vector":
        raise ConfigError("vector scaling is for labels of which one is right; take platt")
    if not independent and method in ("platt", "isotonic"):
        raise ConfigError(
            f"{method} is for labels that are independent; take temperature or vector"
        )
    if len(right) < _FEWEST:
        raise ConfigError(f"{len(right)} texts are too few to calibrate on; give {_FEWEST} or more")
    fit = _FITS[method]
    apart = np.empty_like(logits)
    for others, own in KFold(FOLDS, shuffle=True, random_state=0).split(logits):
        apart[own] = apply(fit(logits[others], right[others], independent), logits[own])
    before = quality(logits, right, independent=independent)
    return {
        **fit(logits, right, independent),
        "provenance": {
            "texts": len(right),
            "folds": FOLDS,
            "before": before,
            "after": quality(apart, right, independent=independent),
            "looks_seen": before["accuracy"] >= _SEEN,
        },
    }


def quality(logits: Logits, right: Right, *, independent: bool) -> dict[str, float]:
    """Negative log likelihood, calibration errors, accuracy and confidence of logits."""
    probabilities = activate(logits, independent=independent)
    predicted = predictions(probabilities, independent=independent)
    if independent:
        confidence = np.where(predicted, probabilities, 1 - probabilities).ravel()
        correct = (predicted == right).ravel()
    else:
        confidence, correct = probabilities.max(axis=1), (predicted & right).any(axis=1)
    return {
        "nll": negative_log_likelihood(probabilities, right, independent=independent),
        "ece_width": calibration_error(bins_of_width(confidence, correct)),
        "ece_mass": calibration_error(bins_of_mass(confidence, correct)),
        "accuracy": float(correct.mean()),
        "confidence": float(confidence.mean()),
    }


def activate(logits: Logits, *, independent: bool) -> NDArray[np.float64]:
    """Probabilities of logits: softmax over labels, or sigmoid."""
    return np.asarray(special.expit(logits) if independent else special.softmax(logits, axis=1))


def apply(numbers: Numbers, logits: Logits) -> Logits:
    """Calibrated logits, as the handler computes them from calibration.json."""
    import torch

    from .handler.calibration import Calibration

    activation = "sigmoid" if numbers["method"] in ("platt", "isotonic") else "softmax"
    calibration = Calibration(numbers, logits.shape[1], activation)
    return calibration(torch.from_numpy(logits)).double().numpy()


def fit_temperature(logits: Logits, right: Right, independent: bool) -> Numbers:
    """The one divisor of all logits with the least negative log likelihood."""

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return negative_log_likelihood(
            activate(scaled, independent=independent), right, independent=independent
        )

    bounds = tuple(map(np.log, _TEMPERATURES))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return {"method": "temperature", "temperature": _rounded(np.exp(found.x))}


def fit_vector(logits: Logits, right: Right, _: bool) -> Numbers:
    """A factor and an offset for each label, with the least negative log likelihood."""
    texts, labels = logits.shape
    indices = right.argmax(axis=1)

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, biases = numbers.reshape(2, labels)
        scaled = logits * weights + biases
        surplus = special.softmax(scaled, axis=1) - right
        nll = -special.log_softmax(scaled, axis=1)[np.arange(texts), indices].mean()
        gradient = np.concatenate([(surplus * logits).sum(axis=0), surplus.sum(axis=0)]) / texts
        return float(nll), gradient

    begin = np.concatenate([np.ones(labels), np.zeros(labels)])
    weights, biases = optimize.minimize(loss, begin, jac=True, method="L-BFGS-B").x.reshape(2, -1)
    return {"method": "vector", "weights": _rounded(weights), "biases": _rounded(biases)}


def fit_platt(logits: Logits, right: Right, _: bool) -> Numbers:
    """Logistic regression of each label on its own logit."""
    weights, biases = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    for i in range(logits.shape[1]):
        if 0 < right[:, i].sum() < len(right):  # else nothing can be learnt
            model = LogisticRegression(C=1e6).fit(logits[:, [i]], right[:, i])
            weights[i], biases[i] = model.coef_[0, 0], model.intercept_[0]
    return {"method": "platt", "weights": _rounded(weights), "biases": _rounded(biases)}


def fit_isotonic(logits: Logits, right: Right, _: bool) -> Numbers:
    """The rising steps that fit each label best, joined by lines."""
    curves = []
    for i in range(logits.shape[1]):
        model = IsotonicRegression(y_min=0, y_max=1).fit(logits[:, i], right[:, i])
        points, first = np.unique(model.X_thresholds_.round(_DIGITS), return_index=True)
        results = special.logit(model.y_thresholds_[first]).clip(-_HIGHEST, _HIGHEST)
        if len(points) < 2:
            points, results = np.append(points, points[-1] + 1), np.append(results, results[-1])
        curves.append((_rounded(points), _rounded(results)))
    return {
        "method": "isotonic",
        "logits": [points for points, _ in curves],
        "calibrated": [results for _, results in curves],
    }


_FITS: dict[str, Callable[[Logits, Right, bool], Numbers]] = {
    "temperature": fit_temperature,
    "vector": fit_vector,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}


def _rounded(value: Any) -> Any:
    return np.round(value, _DIGITS).tolist()

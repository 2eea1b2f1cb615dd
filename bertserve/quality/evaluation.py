"""How good a classifier's labels and probabilities are, on texts whose right labels are known.

    found = evaluate(probabilities, right, labels)
    found.accuracy, found.intervals["accuracy"]       # 0.934, (0.925, 0.942)
    json.dumps(dataclasses.asdict(found))

scikit-learn computes what it computes; what it does not, the calibration of all labels together, is in
judging. Probabilities are float [texts, labels], right labels bool [texts, labels].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from ..errors import ConfigError
from .metrics import (
    Bin,
    Bools,
    Confusion,
    ConfusionMatrix,
    Floats,
    Interval,
    OfLabel,
    bins_of_mass,
    bins_of_width,
    bootstrap_intervals,
    brier_of_texts,
    calibration_error,
    count_pairs,
    judged,
    matrix_of,
    mean_f1,
    most_confused,
    negative_log_likelihood,
    predictions,
    score_labels,
)

TOP = (1, 3, 5)
_POINTS = 100  # of the coverage curve


@dataclass(frozen=True)
class Coverage:
    """Accuracy on the share of predictions that is kept where those below `confidence` are left out."""

    kept: float
    accuracy: float
    confidence: float


@dataclass(frozen=True)
class Baseline:
    """Figures of what always answers the most frequent label of these texts; none as in Evaluation."""

    label: str
    accuracy: float | None
    exact_match: float | None
    macro_f1: float | None
    micro_f1: float | None
    weighted_f1: float | None


@dataclass(frozen=True)
class Evaluation:
    """What was found on `texts` texts; None where a figure cannot be computed.

    accuracy              share of texts whose most probable label is right; none where independent
    exact_match           share of texts whose labels are all right; where independent
    top                   k → share of texts with the right label among the k most probable
    macro_f1              mean over the labels that were right or predicted at least once
    nll, brier            negative log likelihood in nats, Brier score summed over labels; means of texts
    ece_width, ece_mass   expected calibration error over bins of equal width, and of equal mass, of what
                          was predicted: of a text's label, where independent of each that it is given
    ece_labels            mean of the expected calibration errors of the labels
    confidence            mean of the probability of what was predicted
    correct               share of what was predicted that is right: the accuracy, or the precision
    roc_auc               mean of the labels' areas below their ROC curves, one against the rest
    mean_average_precision   mean of the labels' average precisions
    baseline              what always the most frequent label would have; what a model must be better than
    intervals             figure → 95 % interval, see bootstrap
    bins                  those of equal width, for a reliability diagram
    coverage              by rising share, the most confident first
    confusions, matrix    the most frequent first; none where labels are independent
    """

    texts: int
    labels: list[str]
    independent: bool
    accuracy: float | None
    exact_match: float | None
    top: dict[int, float]
    macro_f1: float | None
    micro_f1: float | None
    weighted_f1: float | None
    nll: float
    brier: float
    ece_width: float | None
    ece_mass: float | None
    ece_labels: float
    confidence: float | None
    correct: float | None
    roc_auc: float | None
    mean_average_precision: float | None
    baseline: Baseline
    intervals: dict[str, Interval]
    bins: list[Bin]
    coverage: list[Coverage]
    confusions: list[Confusion]
    matrix: ConfusionMatrix | None
    of_labels: list[OfLabel]


def evaluate(
    probabilities: Floats,
    right: Bools,
    labels: Sequence[str],
    *,
    independent: bool = False,
    thresholds: Sequence[float] | None = None,
) -> Evaluation:
    """Evaluate probabilities; where labels are independent each label of each text is a prediction.

    `thresholds`, one a label, are what independent labels are predicted from; one half if not given.
    ConfigError where there are no texts, or a text has no probabilities or not one right label.
    """
    check(probabilities, right, labels, independent=independent)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    predicted = predictions(probabilities, independent=independent, thresholds=thresholds)
    confidence, correct = judged(
        probabilities, right, independent=independent, thresholds=thresholds
    )
    exact = float(metrics.accuracy_score(right, predicted))
    intervals = bootstrap_intervals(
        probabilities, right, independent=independent, thresholds=thresholds
    )
    if independent:
        intervals = {"exact_match" if k == "accuracy" else k: v for k, v in intervals.items()}
    if not len(confidence):
        intervals.pop("ece_width")
    bins = bins_of_width(confidence, correct)
    of_labels = score_labels(probabilities, right, predicted, labels, independent, thresholds)
    counts = None if independent else count_pairs(right, predicted)
    return Evaluation(
        texts=len(right),
        labels=list(labels),
        independent=independent,
        accuracy=None if independent else exact,
        exact_match=exact if independent else None,
        top={} if independent else _top(probabilities, right),
        macro_f1=mean_f1(right, predicted, "macro"),
        micro_f1=mean_f1(right, predicted, "micro"),
        weighted_f1=mean_f1(right, predicted, "weighted"),
        nll=negative_log_likelihood(probabilities, right, independent=independent),
        brier=float(brier_of_texts(probabilities, right).mean()),
        ece_width=calibration_error(bins),
        ece_mass=calibration_error(bins_of_mass(confidence, correct)),
        ece_labels=float(np.mean([each.ece for each in of_labels if each.ece is not None])),
        confidence=float(confidence.mean()) if len(confidence) else None,
        correct=float(correct.mean()) if len(confidence) else None,
        roc_auc=_mean(each.roc_auc for each in of_labels),
        mean_average_precision=_mean(each.average_precision for each in of_labels),
        baseline=_baseline(right, labels, independent),
        intervals=intervals,
        bins=bins,
        coverage=_coverage(confidence, correct),
        confusions=[] if counts is None else most_confused(counts, labels),
        matrix=None if counts is None else matrix_of(counts, labels),
        of_labels=of_labels,
    )


def check(
    probabilities: Floats, right: Bools, labels: Sequence[str], *, independent: bool = False
) -> None:
    """ConfigError where probabilities and right labels cannot be evaluated."""
    if not len(right):
        raise ConfigError("there are no texts to evaluate on; give a file with some")
    if not probabilities.shape == right.shape == (len(right), len(labels)):
        raise ConfigError(
            f"probabilities {list(probabilities.shape)} and right labels {list(right.shape)} do not "
            f"match {len(labels)} labels; give both as [texts, labels]"
        )
    missing = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if missing:
        raise ConfigError(f"{missing} texts have no probabilities; leave them out")
    if not independent and (right.sum(axis=1) != 1).any():
        raise ConfigError("a text has one right label here; mend the file")


def _baseline(right: Bools, labels: Sequence[str], independent: bool) -> Baseline:
    most = int(right.sum(axis=0).argmax())
    always = np.zeros_like(right)
    always[:, most] = True
    exact = float((always == right).all(axis=1).mean())
    return Baseline(
        labels[most],
        None if independent else exact,
        exact if independent else None,
        *(mean_f1(right, always, average) for average in ("macro", "micro", "weighted")),
    )


def _mean(figures: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [each for each in figures if each is not None]
    return float(np.mean(known)) if known else None


def _top(probabilities: Floats, right: Bools) -> dict[int, float]:
    """Share by k; of equals the first label counts as more probable, as for predictions.

    scikit-learn's top_k_accuracy_score prefers the last.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    place = np.take_along_axis(right, order, axis=1).argmax(axis=1)
    return {k: float((place < k).mean()) for k in TOP if k < right.shape[1]}


def _coverage(confidence: Floats, correct: Bools) -> list[Coverage]:
    """Points of the curve; equal confidences are kept or left out together."""
    if not len(confidence):
        return []
    order = np.argsort(-confidence, kind="stable")
    falling, right_so_far = -confidence[order], np.cumsum(correct[order])
    wanted = np.linspace(1, len(order), min(_POINTS, len(order))).astype(int)
    kept = np.unique(np.searchsorted(falling, falling[wanted - 1], side="right"))
    return [
        Coverage(float(n / len(order)), float(right_so_far[n - 1] / n), float(-falling[n - 1]))
        for n in kept
    ]

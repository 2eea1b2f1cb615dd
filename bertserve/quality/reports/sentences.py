"""What a report says: figures with their names, intervals and meanings, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..comparison import Comparison
from ..evaluation import Evaluation

_CALIBRATED = ("nll", "ece_width", "ece_mass")
_NAMES = {
    "accuracy": "Accuracy",
    "exact_match": "Exact match",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "weighted_f1": "Weighted F1",
    "roc_auc": "ROC AUC",
    "mean_average_precision": "Mean average precision",
    "nll": "Negative log likelihood",
    "brier": "Brier score",
    "ece_width": "ECE, equal width",
    "ece_mass": "ECE, equal mass",
    "ece_labels": "ECE, mean of labels",
}
_SHARES = ("accuracy", "exact_match")  # shown in per cent
_LOWER_IS_BETTER = ("nll", "brier", "ece_width", "ece_mass", "ece_labels")


@dataclass(frozen=True)
class Card:
    """A headline figure, its interval, and what it means in a sentence."""

    name: str
    value: str
    interval: str
    meaning: str


@dataclass(frozen=True)
class Row:
    """A figure of both models, and how the other one's differs."""

    name: str
    one: str
    other: str
    difference: str
    verdict: str


def cards(evaluation: Evaluation) -> list[Card]:
    """The headline figures."""
    exact = ("exact_match", "Share of texts whose labels are all right.")
    right = ("accuracy", "Share of texts labelled right.")
    found = [
        _card(evaluation, *(exact if evaluation.independent else right)),
        _card(evaluation, "macro_f1", "Precision and recall in one; every label counts the same."),
    ]
    if evaluation.independent:
        found.append(
            _card(evaluation, "micro_f1", "The same over all labels of all texts together.")
        )
    else:
        found.append(
            _card(evaluation, "weighted_f1", "Each label counts by how many texts have it.")
        )
    found += [
        Card(f"Top {k}", percent(share), "", f"The right label is among the {k} most probable.")
        for k, share in evaluation.top.items()
        if k > 1
    ]
    ranks = "How well each label's texts rank above the others; no threshold needed. By chance it is 0.5."
    precise = (
        "The same, where it matters most: at the top. By chance it is a label's share of the texts."
    )
    return [
        *found,
        _card(evaluation, "roc_auc", ranks),
        _card(evaluation, "mean_average_precision", precise),
        _card(
            evaluation, "nll", "How surprised the model is by the right labels, in nats; 0 is best."
        ),
        _card(evaluation, "brier", "Squared distance from the right labels; 0 is best."),
        _card(evaluation, "ece_width", says(evaluation)),
        _card(evaluation, "ece_mass", "The same, in 15 bins that hold equally many predictions."),
        _card(evaluation, "ece_labels", "Of each label's probability, over all texts; their mean."),
    ]


def beside_baseline(names: Sequence[str], models: Sequence[Evaluation]) -> list[list[str]]:
    """A row for each model, and one for what always answers the most frequent label; heads first."""
    exact = "exact_match" if models[0].independent else "accuracy"
    figures = (exact, "macro_f1", "micro_f1", "weighted_f1")
    baseline = models[0].baseline
    return [
        ["", *(_NAMES[figure] for figure in figures)],
        *(
            [name, *(_shown(figure, getattr(each, figure)) for figure in figures)]
            for name, each in zip(
                [*names, f"always {baseline.label}, the most frequent label"],
                [*models, baseline],
                strict=True,
            )
        ),
    ]


def says(evaluation: Evaluation) -> str:
    """Mean confidence, and how often that is right, in words."""
    if evaluation.correct is None:
        return "No label is answered."
    what = "Where a label is answered, says" if evaluation.independent else "Says"
    return (
        f"{what} {percent(evaluation.confidence)} on average, "
        f"is right {percent(evaluation.correct)} of the time."
    )


def leaning(evaluation: Evaluation) -> str:
    """Whether the model is too sure of itself; half a per cent is neither."""
    if evaluation.confidence is None or evaluation.correct is None:
        return "sure of no label"
    gap = evaluation.confidence - evaluation.correct
    if abs(gap) < 0.005:
        return "about as sure as it is right"
    return "surer than it is right" if gap > 0 else "less sure than it could be"


def sure_and_wrong(evaluation: Evaluation) -> str:
    """How many wrong predictions are in the bin of the highest confidence."""
    wrong = [round(each.count * (1 - (each.accuracy or 0))) for each in evaluation.bins]
    if not sum(wrong):
        return "None is wrong."
    edge = percent(1 - 1 / len(wrong))
    return f"Of {sum(wrong):,} that are wrong, {wrong[-1]:,} have a confidence above {edge}."


def rows(evaluation: Evaluation, other: Evaluation, comparison: Comparison) -> list[Row]:
    """Figures of two models side by side."""
    found = []
    for name, title in _NAMES.items():
        one, another = (getattr(each, name) for each in (evaluation, other))
        if one is None and another is None:
            continue
        difference, judgement = "", ""
        if name in comparison.differences:
            change = comparison.differences[name]
            difference = (
                f"{_signed(name, change.value)} "
                f"({_signed(name, change.low)} to {_signed(name, change.high)})"
                f"{' points' if name in _SHARES else ''}"
            )
            judgement = "no clear difference"
            if change.low > 0 or change.high < 0:
                rises = change.low > 0
                judgement = "worse" if rises == (name in _LOWER_IS_BETTER) else "better"
        found.append(Row(title, _shown(name, one), _shown(name, another), difference, judgement))
    return found


def verdict(comparison: Comparison) -> str:
    """What McNemar's test says, in words."""
    if not comparison.only_one + comparison.only_other:
        return "Both have the same texts right."
    likely = (
        "chance alone would seldom do that"
        if comparison.p_value < 0.05
        else "chance alone may well do that"
    )
    return (
        f"{comparison.only_one:,} texts only the first has right, {comparison.only_other:,} only the "
        f"other: {likely} (p = {number(comparison.p_value)}, McNemar's exact test)."
    )


def percent(value: float | None) -> str:
    """93.4 % of 0.934; – of None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """Three digits; – of None."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


def _card(evaluation: Evaluation, name: str, meaning: str) -> Card:
    interval = ""
    if name in evaluation.intervals:
        low, high = evaluation.intervals[name]
        interval = f"{_shown(name, low)} to {_shown(name, high)}"
    return Card(_NAMES[name], _shown(name, getattr(evaluation, name)), interval, meaning)


def _shown(name: str, value: float | None) -> str:
    return percent(value) if name in _SHARES else number(value)


def _signed(name: str, value: float) -> str:
    """With a sign, as − or +; shares in points of per cent."""
    shown = f"{100 * value:+.1f}" if name in _SHARES else f"{value:+.3f}"
    return "0" if not float(shown) else shown.replace("-", "−")


def is_calibrated(calibration: Mapping[str, Any] | None) -> bool:
    """Whether a model's probabilities are calibrated; models that are not say method none."""
    return bool(calibration) and (calibration or {}).get("method", "none") != "none"


def decided(decisions: Mapping[str, Any]) -> list[str]:
    """What thresholds and sets do on these texts, a sentence each."""
    found = []
    if each := decisions.get("threshold"):
        found.append(
            f"From the threshold {number(each['level'])} on a label is answered: for "
            f"{percent(each['coverage'])} of these texts, and {percent(each['precision'])} of them "
            "are right."
        )
    if each := decisions.get("thresholds"):
        never = f" {each['never']} labels are never answered." if each["never"] else ""
        found.append(
            f"Each label has a threshold of its own: {each['said']:,} labels are answered, "
            f"{percent(each['precision'])} of them are right, and {percent(each['recall'])} of what is "
            f"right is answered.{never}"
        )
    if each := decisions.get("sets"):
        found.append(
            f"Prediction sets shall hold the right label for {percent(each['wanted'])} of the texts, and "
            f"do for {percent(each['coverage'])} of these; they have {each['mean_size']:.2f} labels on "
            f"average, and none for {percent(each['empty'])}."
        )
    return found


def calibrated(calibration: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Figures before and after, where calibration.json tells them."""
    provenance = calibration.get("provenance") or {}
    before, after = provenance.get("before") or {}, provenance.get("after") or {}
    return [
        (_NAMES[name], number(before[name]), number(after[name]))
        for name in _CALIBRATED
        if name in before and name in after
    ]

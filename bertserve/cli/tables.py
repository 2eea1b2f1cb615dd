"""Figures of evaluations and calibrations on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from .app import out

if TYPE_CHECKING:
    from ..score import Summary

_MOST_LABELS, _MOST_CONFUSIONS = 10, 10
_FIGURES = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "precision": "precision of what is answered",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "weighted_f1": "weighted F1",
    "roc_auc": "ROC AUC, mean of the labels",
    "mean_average_precision": "average precision, mean of the labels",
    "confidence": "confidence",
    "nll": "negative log likelihood",
    "brier": "Brier score",
    "ece_width": "ECE, bins of equal width",
    "ece_mass": "ECE, bins of equal mass",
    "ece_labels": "ECE of the labels, mean",
}
_OF_METHODS = ("nll", "ece_width", "ece_mass", "accuracy", "precision", "confidence")


def print_evaluation(found: dict[str, Any]) -> None:
    """An evaluation, and the other model's beside it."""
    other = found.get("other")
    sides = [found, other] if other else [found]
    table = Table(
        f"{found['texts']:,} texts",
        *(escape(f"{side['model']['name']} {side['model']['version']}") for side in sides),
        *(["difference"] if other else ["95 %"]),
        box=None,
    )
    for key, name in _FIGURES.items():
        if found.get(key) is None:
            continue
        row = ["–" if side[key] is None else f"{side[key]:.4f}" for side in sides]
        differences = found.get("comparison", {}).get("differences", {})
        table.add_row(name, *row, _between(found, key) if not other else _change(differences, key))
    for k in found["top"]:
        if k > 1:
            table.add_row(f"top {k}", *(f"{side['top'][k]:.4f}" for side in sides), "")
    out.print(table)
    if asked := found["model"]["options"]:
        said = ", ".join(f"{name} {value}" for name, value in asked.items())
        out.print(f"asked with {escape(said)}", soft_wrap=True, highlight=False)
    out.print(_baseline_line(found), soft_wrap=True, highlight=False)
    if comparison := found.get("comparison"):
        out.print(
            f"right by one alone: {comparison['only_one']} and {comparison['only_other']} texts, "
            f"McNemar's p {comparison['p_value']:.2g}; {comparison['labels_changed']:.1%} of texts get "
            "other labels",
            soft_wrap=True,
            highlight=False,
        )
        _print_reliability(sides)
    for line in _decision_lines(found["decisions"]):
        out.print(line, soft_wrap=True, highlight=False)
    _print_labels(found)
    for each in found.get("worst", []):
        texts = escape(" ¦ ".join(filter(None, (each["text"], each["text_pair"]))))
        right, said = (escape(", ".join(each[key]) or "none") for key in ("right", "predicted"))
        out.print(f"{each['probability']:.4f}  {right}, not {said}: {texts}", highlight=False)


def _baseline_line(found: dict[str, Any]) -> str:
    baseline = found["baseline"]
    figures = (
        f"{_FIGURES[key]} {baseline[key]:.4f}"
        for key in ("accuracy", "exact_match", "macro_f1", "micro_f1", "weighted_f1")
        if baseline[key] is not None
    )
    name = escape(baseline["label"])
    return f'always "{name}", the most frequent label: {", ".join(figures)}'


def _print_reliability(sides: Sequence[dict[str, Any]]) -> None:
    """How often each model is right where it is so confident."""
    heads = (f"{side['model']['name']} {side['model']['version']}" for side in sides)
    table = Table("confidence", *map(escape, heads), box=None)
    bins = list(zip(*(side["bins"] for side in sides), strict=True))
    for number, both in enumerate(bins, start=1):
        if any(each["count"] for each in both):
            cells = (
                f"{each['confidence']:.3f} said, {each['accuracy']:.3f} right of {each['count']:,}"
                if each["count"]
                else "–"
                for each in both
            )
            table.add_row(f"to {number / len(bins):.0%}", *cells)
    out.print(table)


def _print_labels(found: dict[str, Any]) -> None:
    thresholds = found["independent"]
    table = Table(
        "weakest labels", "precision", "recall", "F1", "ROC AUC", "support",
        *(["threshold"] if thresholds else []),
        box=None,
    )  # fmt: skip
    seen = [each for each in found["of_labels"] if each["support"]]
    for each in sorted(seen, key=lambda each: each["f1"])[:_MOST_LABELS]:
        figures = (_figure(each[key]) for key in ("precision", "recall", "f1", "roc_auc"))
        more = [_figure(each["threshold"])] if thresholds else []
        table.add_row(escape(each["label"]), *figures, str(each["support"]), *more)
    out.print(table)
    if found["confusions"]:
        table = Table("right", "predicted", "texts", box=None)
        for each in found["confusions"][:_MOST_CONFUSIONS]:
            table.add_row(escape(each["right"]), escape(each["predicted"]), str(each["count"]))
        out.print(table)


def _decision_lines(decisions: dict[str, Any]) -> Iterator[str]:
    if each := decisions.get("threshold"):
        yield (
            f"threshold {each['level']:.4f}: a label for {each['coverage']:.1%} of the texts, "
            f"{_share(each['precision'])} of them right"
        )
    if each := decisions.get("thresholds"):
        yield (
            f"thresholds of each label: {each['said']:,} labels answered, {_share(each['precision'])} of "
            f"them right, {_share(each['recall'])} of what is right is answered"
        )
    if each := decisions.get("sets"):
        yield (
            f"prediction sets for {each['wanted']:.0%}: they hold the right label for "
            f"{each['coverage']:.1%} of the texts, {each['mean_size']:.2f} labels on average, "
            f"none for {each['empty']:.1%}"
        )


def print_calibration(model_dir: Path, found: dict[str, Any]) -> None:
    """What a calibration brings."""
    origin = found["provenance"]
    value = f" {found['temperature']:.4f}" if "temperature" in found else ""
    out.print(
        f"[green]calibrated[/] {escape(str(model_dir))} by {escape(found['method'])}{value}, on "
        f"{origin['texts']:,} texts",
        highlight=False,
        soft_wrap=True,
    )
    if "methods" in origin:
        _print_methods(origin)
    table = Table("", "before", f"after, by {origin['folds']}-fold cross-validation", box=None)
    for key in _OF_METHODS:
        if key in origin["before"]:
            row = (_or_dash(origin[when][key]) for when in ("before", "after"))
            table.add_row(_FIGURES[key], *row)
    out.print(table)
    if each := origin.get("threshold"):
        out.print(
            f"threshold {found['threshold']:.4f}: a label for {each['coverage']:.1%} of the texts, "
            f"{_share(each['precision'])} of them right {_interval(each['interval'])}",
            highlight=False,
            soft_wrap=True,
        )
    if each := origin.get("thresholds"):
        line = _thresholds_line(each, found["thresholds"].count(None))
        out.print(line, highlight=False, soft_wrap=True)
    if each := origin.get("sets"):
        for line in _decision_lines({"sets": {**each, "wanted": found["sets"]["coverage"]}}):
            out.print(line, highlight=False, soft_wrap=True)
    out.print("`bertserve package` takes it along", highlight=False)


def _print_methods(origin: dict[str, Any]) -> None:
    """What each method would bring, and why one was taken."""
    rows = {"none": origin["before"], **origin["methods"]}
    keys = [key for key in _OF_METHODS if key in origin["before"]]
    heads = (_FIGURES[key] for key in keys)
    table = Table("method", *heads, box=None)
    for name, each in rows.items():
        table.add_row(name, *(_or_dash(each[key]) for key in keys))
    out.print(table)
    out.print(origin["reason"], soft_wrap=True, highlight=False)


def _thresholds_line(each: dict[str, Any], never: int) -> str:
    if each["precision"] is None:
        return "no threshold makes a label precise enough on these texts: none will be answered"
    return (
        f"thresholds for each label: {_share(each['precision'])} of what is answered is right "
        f"{_interval(each['interval'])}, {each['recall']:.1%} of what is right is answered"
        f"; macro F1 {_or_dash(each['macro_f1'])}, {_or_dash(each['macro_f1_at_half'])} at one half"
        + (f"; {never} labels never are" if never else "")
    )


def _between(found: dict[str, Any], key: str) -> str:
    interval = found["intervals"].get(key)
    return f"{interval[0]:.4f} – {interval[1]:.4f}" if interval else ""


def _change(differences: dict[str, Any], key: str) -> str:
    each = differences.get(key)
    return f"{each['value']:+.4f}  ({each['low']:+.4f} – {each['high']:+.4f})" if each else ""


def _interval(interval: Sequence[float] | None) -> str:
    return f"({interval[0]:.1%} – {interval[1]:.1%})" if interval else ""


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def print_scored(found: Summary, calibrated_on: dict[str, Any] | None) -> None:
    """What rows came to, beside what the model said of the texts that it was calibrated on."""
    known = calibrated_on or {"labels": {}, "probability": {}}
    out.print(
        f"{found.rows:,} rows, {found.failed:,} with an error, {found.undecided:,} without a label, "
        f"{found.truncated:,} cut",
        highlight=False,
    )
    for code, count in found.errors.most_common():
        out.print(f"  {code}: {count:,}", highlight=False)
    beside = ["calibrated on"] * bool(calibrated_on)
    table = Table("label", "share", *beside, box=None, pad_edge=False)
    shown = list(found.shares.items())[:_MOST_LABELS]
    for label, share in shown:
        table.add_row(
            escape(label), f"{share:.1%}", *[_share(known["labels"].get(label, 0.0))] * len(beside)
        )
    if len(found.shares) > len(shown):
        table.add_row(f"[dim]and {len(found.shares) - len(shown)} more[/]", "")
    out.print(table)
    table = Table("of rows below", "probability", *beside, box=None, pad_edge=False)
    for name, value in found.quantiles.items():
        table.add_row(
            f"{float(name):.0%}",
            f"{value:.3f}",
            *[_figure(known["probability"].get(name))] * len(beside),
        )
    out.print(table)

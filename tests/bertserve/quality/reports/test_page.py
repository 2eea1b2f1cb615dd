"""The HTML report: it shows the evaluation's figures, loads and runs nothing, and is always the same."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import special

from bertserve.errors import ConfigError
from bertserve.quality.comparison import compare
from bertserve.quality.evaluation import Evaluation, evaluate
from bertserve.quality.metrics.scoring_rules import Bools, Floats
from bertserve.quality.metrics.worst import Worst
from bertserve.quality.reports.page import Other, Provenance, render, write_report

PROVENANCE = Provenance(
    model="topics",
    version="1.0",
    data="test.csv",
    data_sha256="d" * 64,
    date="2026-11-23",
    archive="topics-1.0.mar",
    archive_sha256="a" * 64,
)
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "{{7*7}} & $x$ #040404",
    "账单_\u202e_\x00_ \ud800",
]


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and rows of tables and cards as text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self.cards: dict[str, list[str]] = {}
        self.text = ""
        self._card: list[str] | None = None
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True
        elif attributes.get("class") == "name":
            self._card = []
        if tag == "div" and self._card is not None:
            self._card.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False
        if tag == "li" and self._card:
            name, *rest = self._card
            self.cards[name] = rest
            self._card = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._card:
            self._card[-1] += data
        elif self._in_cell:
            self.tables[-1][-1][-1] += data

    def images(self) -> dict[str, ElementTree.Element]:
        """Plots by the first word of their alt text."""
        return {
            attributes["alt"].split()[0]: ElementTree.fromstring(
                base64.b64decode(attributes["src"].removeprefix("data:image/svg+xml;base64,"))
            )
            for tag, attributes in self.elements
            if tag == "img"
        }

    def table(self, *heads: str) -> list[list[str]]:
        """Rows below a heading that begins so."""
        (found,) = (each for each in self.tables if tuple(each[0][: len(heads)]) == heads)
        return [row for row in found[1:] if row]


def scored(labels: int = 4, *, independent: bool = False) -> tuple[Floats, Bools]:
    draws = np.random.default_rng(3)
    if independent:
        right = draws.random((120, labels)) < 0.3
        right[:, -1] = False  # a label that no text has
        return special.expit(draws.normal(size=right.shape) + 4 * right - 3), right
    right = np.eye(labels, dtype=bool)[draws.integers(labels, size=120)]
    return special.softmax(draws.normal(size=right.shape) + 2 * right, axis=1), right


def evaluated(labels: list[str], *, independent: bool = False) -> Evaluation:
    return evaluate(*scored(len(labels), independent=independent), labels, independent=independent)


def compared() -> tuple[Evaluation, Other]:
    labels = ["a", "b", "c", "d"]
    one, right = scored()
    noise = np.random.default_rng(0).normal(size=one.shape)
    two = special.softmax(3 * np.log(one) + 5 * noise, axis=1)
    evaluations = [evaluate(each, right, labels) for each in (one, two)]
    other = dataclasses.replace(PROVENANCE, version="2.0", archive_sha256="b" * 64)
    return evaluations[0], Other(other, evaluations[1], compare(one, two, right, labels))


def percent(value: float | None) -> str:
    assert value is not None
    return f"{value * 100:.1f} %"


def three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def test_shows_the_figures_of_the_evaluation() -> None:
    evaluation = evaluated(["b", "a", "d_e", "c"])
    page = Page(render(PROVENANCE, evaluation))
    cards = page.cards
    low, high = evaluation.intervals["accuracy"]
    assert cards["Accuracy"][:2] == [
        percent(evaluation.accuracy),
        f"{percent(low)} to {percent(high)}",
    ]
    for title, name in (
        ("Negative log likelihood", "nll"),
        ("Brier score", "brier"),
        ("ECE, equal width", "ece_width"),
    ):
        low, high = evaluation.intervals[name]
        assert cards[title][:2] == [
            three(getattr(evaluation, name)),
            f"{three(low)} to {three(high)}",
        ]
    assert cards["Macro F1"][0] == three(evaluation.macro_f1)
    assert cards["Weighted F1"][0] == three(evaluation.weighted_f1)
    assert cards["ECE, equal mass"][0] == three(evaluation.ece_mass)
    assert cards["Top 3"][0] == percent(evaluation.top[3])
    assert cards["ECE, equal width"][2] == (
        f"Says {percent(evaluation.confidence)} on average, "
        f"is right {percent(evaluation.accuracy)} of the time."
    )
    assert cards["ECE, mean of labels"][0] == three(evaluation.ece_labels)
    assert cards["ROC AUC"][0] == three(evaluation.roc_auc)
    assert cards["Mean average precision"][0] == three(evaluation.mean_average_precision)
    assert len(cards) == 11
    baseline = evaluation.baseline
    assert page.table("Beside a guess", "Accuracy") == [
        [
            name,
            percent(each.accuracy),
            *map(three, (each.macro_f1, each.micro_f1, each.weighted_f1)),
        ]
        for name, each in (
            ("topics 1.0", evaluation),
            (f"always {baseline.label}, the most frequent label", baseline),
        )
    ]

    assert page.table("Label", "F1") == [
        [
            each.label,
            three(each.f1),
            three(each.precision),
            three(each.recall),
            str(each.support),
            three(each.confidence),
            three(each.ece),
            three(each.roc_auc),
            three(each.average_precision),
        ]
        for each in sorted(evaluation.of_labels, key=lambda each: each.f1 or 0)
    ]
    assert page.table("Right", "Predicted") == [
        [each.right, each.predicted, str(each.count), percent(each.share)]
        for each in evaluation.confusions
    ]
    assert page.table("Confidence", "Mean") == [
        [f"to {percent((i + 1) / 15)}", percent(each.confidence or 0), percent(each.accuracy or 0),
         str(each.count)]
        for i, each in enumerate(evaluation.bins) if each.count
    ]  # fmt: skip
    points = page.table("Kept", "Accuracy")
    assert points[-1][:2] == ["100.0 %", percent(evaluation.accuracy)]
    assert len(points) == 10
    wrong = sum(each.count for each in evaluation.confusions)
    assert f"Of {wrong} that are wrong" in page.text
    for each in (
        "120 texts of test.csv, 4 labels",
        "not calibrated",
        "d" * 64,
        "a" * 64,
        "2026-11-23",
    ):
        assert each in page.text


def test_heat_map_shows_the_counts() -> None:
    evaluation = evaluated(["b", "a", "d", "c"])
    images = Page(render(PROVENANCE, evaluation)).images()
    assert set(images) == {"Reliability", "Histogram", "Accuracy", "Heat"}
    texts = [
        "".join(each.itertext()) for each in images["Heat"].iter("{http://www.w3.org/2000/svg}text")
    ]
    assert evaluation.matrix is not None
    counts = [str(n) for row in evaluation.matrix.counts for n in row if n]
    ends = ["1", "2", "3", "4", "predicted", "b  1", "a  2", "d  3", "c  4"]
    assert sorted(texts) == sorted(counts + ends)


def test_independent_labels() -> None:
    evaluation = evaluated(["a", "b", "c"], independent=True)
    page = Page(render(PROVENANCE, evaluation))
    assert page.cards["Exact match"][0] == percent(evaluation.exact_match)
    assert page.cards["Micro F1"][0] == three(evaluation.micro_f1)
    assert page.cards["Mean average precision"][0] == three(evaluation.mean_average_precision)
    assert percent(evaluation.correct) in page.cards["ECE, equal width"][2]
    assert "Accuracy" not in page.cards
    assert set(page.images()) == {"Reliability", "Histogram", "Precision"}
    rows = {row[0]: row[1:] for row in page.table("Label", "F1")}
    for each in evaluation.of_labels:
        assert rows[each.label][4:] == [
            three(each.confidence),
            three(each.ece),
            three(each.roc_auc),
            three(each.average_precision),
            "0.500",
            three(each.best_threshold),
            three(each.best_f1),
        ]
    assert rows["c"][2] == rows["c"][6] == "–"


def test_comparison() -> None:
    evaluation, other = compared()
    page = Page(render(PROVENANCE, evaluation, other=other))
    rows = {row[0]: row[1:] for row in page.table("Figure", "topics 1.0", "topics 2.0")}
    assert rows["Accuracy"][:2] == [
        percent(evaluation.accuracy),
        percent(other.evaluation.accuracy),
    ]
    assert rows["Macro F1"] == [
        three(evaluation.macro_f1),
        three(other.evaluation.macro_f1),
        "",
        "",
    ]
    change = other.comparison.differences["nll"]
    assert change.low > 0
    assert rows["Negative log likelihood"] == [
        three(evaluation.nll), three(other.evaluation.nll),
        f"+{change.value:.3f} (+{change.low:.3f} to +{change.high:.3f})", "worse",
    ]  # fmt: skip
    accuracy = other.comparison.differences["accuracy"]
    assert accuracy.high < 0
    value, low, high = (-100 * each for each in dataclasses.astuple(accuracy))
    assert rows["Accuracy"][2:] == [
        f"−{value:.1f} (−{low:.1f} to −{high:.1f}) points",
        "worse",
    ]
    test = other.comparison
    assert f"{test.only_one} texts only the first has right, {test.only_other} only" in page.text
    assert percent(test.labels_changed) in page.text
    assert three(test.largest_shift) in page.text
    assert "b" * 64 in page.text
    guesses = page.table("Beside a guess", "Accuracy")
    assert [row[0] for row in guesses[:2]] == ["topics 1.0", "topics 2.0"]
    assert guesses[1][1] == percent(other.evaluation.accuracy)
    assert len(guesses) == 3


def test_a_comparison_shows_the_reliability_of_both() -> None:
    evaluation, other = compared()
    page = Page(render(PROVENANCE, evaluation, other=other))
    tables = [each for each in page.tables if each[0][:2] == ["Confidence", "Mean"]]
    assert len(tables) == 2
    for found, wanted in zip(tables, (evaluation, other.evaluation), strict=True):
        filled = [each for each in wanted.bins if each.count]
        assert [row[1:] for row in found[1:]] == [
            [percent(each.confidence), percent(each.accuracy), str(each.count)] for each in filled
        ]
    for name in ("topics 1.0", "topics 2.0"):
        assert f"Reliability of {name}" in page.text
    plots = [a for tag, a in page.elements if tag == "img" and a["alt"].startswith("Reliability")]
    assert len({each["src"] for each in plots}) == 2
    assert "Reliability of" not in Page(render(PROVENANCE, evaluation)).text


def test_calibration_and_worst_texts_are_shown_where_given() -> None:
    evaluation = evaluated(["a", "b"])
    calibration = {
        "method": "temperature",
        "temperature": 1.4217,
        "provenance": {
            "texts": 1500,
            "before": {"nll": 0.3111, "ece_width": 0.0361, "accuracy": 0.9},
            "after": {"nll": 0.2222, "ece_width": 0.0112, "accuracy": 0.9},
        },
    }
    worst = [Worst(7, "where is it?", ["a"], ["b"], 0.0123, "the second of a pair")]
    page = Page(render(PROVENANCE, evaluation, calibration=calibration, worst=worst))
    assert "temperature 1.422, fitted on 1,500 texts" in page.text
    assert page.table("On those texts") == [
        ["Negative log likelihood", "0.311", "0.222"],
        ["ECE, equal width", "0.036", "0.011"],
    ]
    ((text, *rest),) = page.table("Text")
    assert text.split() == "where is it? and the second of a pair".split()
    assert rest == ["a", "b", "0.012"]
    bare = Page(render(PROVENANCE, evaluation, calibration={"method": "platt", "weights": [1.0]}))
    assert "Method: platt." in bare.text
    assert "worst" not in bare.text


def test_labels_and_texts_cannot_do_anything(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    names = {field.name: HOSTILE[0] for field in dataclasses.fields(Provenance)}
    worst = [Worst(0, text, [text], [text], 0.5) for text in HOSTILE]
    write_report(path, Provenance(**names), evaluated(HOSTILE), worst=worst)
    html = path.read_bytes().decode()
    page = Page(html)
    plain = Page(render(PROVENANCE, evaluated(["a", "b", "c", "d"]), worst=[
        Worst(0, "a", ["a"], ["a"], 0.5) for _ in HOSTILE
    ]))  # fmt: skip
    allowed = {tag for tag, _ in plain.elements} | {"wbr"}
    assert {tag for tag, _ in page.elements} == allowed
    assert "script" not in allowed
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 4
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    shown = [row[0] for row in page.table("Text")]
    assert shown == [text.replace("\ud800", "?") for text in HOSTILE]
    assert {row[0] for row in page.table("Label", "F1")} == set(shown)
    assert "49" not in [row[0] for row in page.table("Label", "F1")]
    heat = "".join(page.images()["Heat"].itertext())
    assert "<script>alert(1)</scr"[:13] in heat
    assert "账单" in heat
    assert HOSTILE[2] in heat


def test_loads_and_runs_nothing() -> None:
    evaluation, other = compared()
    html = render(PROVENANCE, evaluation, other=other)
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "form", "base")
        assert attributes.get("src", "data:").startswith("data:")
        assert "href" not in attributes
        assert "style" not in attributes
    (policy,) = (each["content"] for tag, each in page.elements if "http-equiv" in each)
    (style,) = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ")[:3] == [
        "default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'",
    ]  # fmt: skip
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in html
    for image in page.images().values():
        for element in image.iter():
            for name, value in element.attrib.items():
                assert "://" not in value
                if name.endswith("href"):
                    assert value.startswith("#")
        assert not list(image.iter("{http://www.w3.org/2000/svg}script"))


def test_same_evaluation_same_bytes(tmp_path: Path) -> None:
    evaluation = evaluated(["a", "b", "c", "d"])
    one, other = tmp_path / "1.html", tmp_path / "2.html"
    write_report(one, PROVENANCE, evaluation)
    write_report(other, PROVENANCE, evaluation)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("independent", [False, True])
def test_one_text_and_one_label(independent: bool) -> None:
    evaluation = evaluate(np.array([[1.0]]), np.array([[True]]), ["only"], independent=independent)
    page = Page(render(PROVENANCE, evaluation))
    assert "1 label" in page.text
    assert "None is wrong." in page.text
    share = "Precision" if independent else "Accuracy"
    assert set(page.images()) == {"Reliability", "Histogram", share}


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_report(tmp_path / "none" / "r.html", PROVENANCE, evaluated(["a", "b"]))


def test_the_commands_start_without_what_reports_need() -> None:
    heavy = "{'jinja2', 'matplotlib', 'scipy', 'sklearn'}"
    code = f"import sys, bertserve.cli; sys.exit(str({heavy} & set(sys.modules) or '') or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_a_page_says_what_is_so() -> None:
    """Whether probabilities are calibrated, on what, and what is decided."""
    evaluation = evaluated(["a", "b"])
    plain = Page(render(PROVENANCE, evaluation, calibration={"method": "none"}))
    assert "Probabilities are not calibrated" in plain.text
    assert "Method" not in plain.text
    assert "these very texts" not in plain.text
    decisions = {
        "threshold": {"level": 0.7, "coverage": 0.81, "precision": 0.97},
        "sets": {"wanted": 0.95, "coverage": 0.94, "mean_size": 1.25, "empty": 0.01},
    }
    found = Page(
        render(
            PROVENANCE,
            evaluation,
            calibration={"method": "temperature", "temperature": 2.0},
            decisions=decisions,
            fitted_on_these=True,
        )
    ).text
    for words in (
        "Probabilities are calibrated", "calibrated on these very texts", "threshold 0.700",
        "81.0 % of these texts, and 97.0 %", "95.0 % of the texts", "94.0 % of these", "1.25 labels",
    ):  # fmt: skip
        assert words in found
    many = {"thresholds": {"said": 12, "precision": 0.75, "recall": 0.5, "never": 2}}
    page = Page(render(PROVENANCE, evaluated(["a", "b"], independent=True), decisions=many))
    assert "12 labels are answered, 75.0 % of them are right, and 50.0 %" in page.text
    assert "2 labels are never answered" in page.text

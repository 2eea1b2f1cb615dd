"""Plots of an evaluation, as SVG that follows a page into light or dark mode.

Colours of text, lines and areas are variables that a rule of each SVG sets. Letters stay letters: the
reader's fonts draw them, in any script.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..evaluation import Coverage, Evaluation
from ..metrics import Bin, ConfusionMatrix

# what is drawn → its name, and its colour on light and on dark ground
_COLOURS = {
    "#010101": ("ink", "#1f2328", "#e6edf3"),
    "#020202": ("soft", "#59636e", "#9ea7b1"),
    "#030303": ("line", "#d9dee3", "#30373e"),
    "#040404": ("one", "#1f6feb", "#58a6ff"),
    "#050505": ("two", "#cf5d0c", "#f0883e"),
    "#060606": ("three", "#0f7b6c", "#2dd4bf"),
    "#070707": ("ground", "#ffffff", "#161b22"),
}
INK, SOFT, LINE, ONE, TWO, THREE, GROUND = _COLOURS
_WIDTH = 4.2  # inches: on a phone a point is a little more than a pixel
_LONGEST = 22  # characters of a label
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # a date would differ each time
_STYLE: Any = {
    "svg.hashsalt": "bertserve",  # the same figures make the same file
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": SOFT, "ytick.color": SOFT,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.edgecolor": SOFT, "grid.color": LINE, "axes.axisbelow": True, "axes.grid": True,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none",
    "legend.frameon": False, "legend.fontsize": 9,
    "text.parse_math": False,
}  # fmt: skip


def reliability(bins: list[Bin]) -> str:
    """Accuracy by confidence, the gap to the diagonal shaded, and how many predictions each bin has."""

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, sharex=True, height_ratios=(3.2, 1))
        width = 1 / len(bins)
        for place, each in enumerate(bins):
            if each.confidence is None or each.accuracy is None:
                continue
            middle = (place + 0.5) * width
            low, high = sorted((each.accuracy, each.confidence))
            gap = TWO if each.accuracy < each.confidence else THREE
            top.bar(middle, low, width * 0.9, color=ONE, alpha=0.85)
            top.bar(middle, high - low, width * 0.9, low, color=gap, alpha=0.6, linewidth=0)
            bottom.bar(middle, each.count, width * 0.9, color=SOFT)
        top.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
        top.bar(0, 0, color=ONE, alpha=0.85, label="right")
        top.bar(0, 0, color=TWO, alpha=0.6, label="too sure")
        top.bar(0, 0, color=THREE, alpha=0.6, label="not sure enough")
        _legend_above(top)
        top.set(ylim=(0, 1), ylabel="right")
        _percent(top.yaxis)
        bottom.set(xlim=(0, 1), xlabel="confidence", ylabel="how many")
        bottom.set_yscale("symlog", linthresh=1)
        most = max(each.count for each in bins)
        bottom.set_yticks([10**power for power in range(0, 9, 2) if 10**power <= most])
        bottom.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        bottom.minorticks_off()
        _percent(bottom.xaxis)

    return _svg(draw, 4.3)


def confidence(bins: list[Bin]) -> str:
    """How many predictions have which confidence, right ones below wrong ones."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        counts = np.array([each.count for each in bins])
        good = np.array([round(each.count * (each.accuracy or 0)) for each in bins])
        middles = (np.arange(len(bins)) + 0.5) / len(bins)
        axes.bar(middles, good, 0.9 / len(bins), color=ONE, label="right")
        axes.bar(middles, counts - good, 0.9 / len(bins), good, color=TWO, label="wrong")
        _legend_above(axes)
        axes.set(xlim=(0, 1), xlabel="confidence", ylabel="predictions")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _percent(axes.xaxis)

    return _svg(draw, 3.4)


def coverage(points: list[Coverage], other: list[Coverage] | None = None) -> str:
    """Accuracy on the share of predictions that is kept, the most confident first."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for curve, colour, label in ((points, ONE, "this model"), (other, TWO, "the other")):
            if curve:
                axes.plot(
                    [each.kept for each in curve], [each.accuracy for each in curve],
                    color=colour, linewidth=2, label=label if other else None,
                    marker="o" if len(curve) < 3 else None, clip_on=False,
                )  # fmt: skip
        lowest = min((each.accuracy for each in [*points, *(other or [])]), default=0.0)
        floor = max(0, np.floor((lowest - 0.01) * 20) / 20)
        axes.set(xlim=(0, 1.01), ylim=(floor, 1 + (1 - floor) * 0.03))
        axes.set(xlabel="kept, the most confident first", ylabel="right of those")
        if other:
            axes.legend(loc="lower left")
        _percent(axes.xaxis)
        _percent(axes.yaxis, (1 - floor) < 0.06)

    return _svg(draw, 3.4)


def confusion(matrix: ConfusionMatrix) -> str:
    """Heat map: a cell's shade is its share of its row, the texts that have the row's label."""
    labels = [_short(label) for label in matrix.labels]
    columns = [str(place + 1) for place in range(len(labels))]
    counts = np.array(matrix.counts).reshape(len(labels), len(labels))
    if any(matrix.others):
        counts = np.column_stack([counts, matrix.others])
        columns.append("others")
    supports = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / supports

    size = 8 if counts.max() < 100 or len(columns) < 9 else 6.5

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(False)
        for (row, column), count in np.ndenumerate(counts):
            if not count:
                continue
            colour = ONE if row == column else TWO
            share = float(shares[row, column])
            # errors are few: their shades reach full strength at a quarter
            strength = 0.15 + 0.85 * (share if row == column else min(1.0, share * 4))
            axes.bar(column, 0.94, 0.94, row - 0.47, color=colour, alpha=strength, linewidth=0)
            axes.text(
                column, row, f"{count}" if count < 1000 else f"{count / 1000:.2g}k",
                ha="center", va="center", fontsize=size, color=GROUND if strength > 0.6 else INK,
            )  # fmt: skip
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(labels) - 0.5, -0.5))
        axes.set_xticks(range(len(columns)), columns)
        if columns[-1] == "others":
            axes.get_xticklabels()[-1].set_rotation(90)
        axes.set_yticks(
            range(len(labels)),
            [f"{label}  {place + 1}" for place, label in enumerate(labels)],
        )
        axes.tick_params(length=0, labelsize=8, pad=2)
        axes.set_xlabel("predicted", fontsize=9)
        axes.spines[:].set_visible(False)

    return _svg(draw, 0.8 + 0.26 * max(len(labels), 4))


def plots_of(evaluation: Evaluation, other: Evaluation | None = None) -> dict[str, str]:
    """SVG by name; no heat map where labels are independent, the other one's reliability with it."""
    found = {
        "reliability": reliability(evaluation.bins),
        "confidence": confidence(evaluation.bins),
        "coverage": coverage(evaluation.coverage, other.coverage if other else None),
    }
    if other:
        found["reliability_other"] = reliability(other.bins)
    if evaluation.matrix is not None and len(evaluation.matrix.labels) > 1:
        found["confusion"] = confusion(evaluation.matrix)
    return found


def _legend_above(axes: Axes) -> None:
    """Where no bar is behind it."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.2, borderaxespad=0.2,
        handlelength=1.2, handletextpad=0.5, columnspacing=1.2,
    )  # fmt: skip


def _percent(axis: Any, fine: bool = False) -> None:
    axis.set_major_formatter(PercentFormatter(1, decimals=1 if fine else 0))


def _short(label: str) -> str:
    """A label that has room beside a plot, without what XML forbids."""
    label = "".join(letter if letter.isprintable() else "�" for letter in label)
    if len(label) <= _LONGEST:
        return label
    end = _LONGEST // 3  # what tells labels apart is as often at their end
    return f"{label[: _LONGEST - end - 1]}…{label[-end:]}"


def _svg(draw: Callable[[Figure], None], height: float) -> str:
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader has fonts of their own
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    svg = file.getvalue()
    return _coloured(svg[svg.index("<svg") :])  # without the address of a DTD


def _coloured(svg: str) -> str:
    """Variables for colours, with a rule that sets them."""
    for drawn, (name, _, _) in _COLOURS.items():
        svg = svg.replace(f": {drawn}", f": var(--{name})")
    light, dark = (
        ";".join(f"--{name}:{colours[mode]}" for name, *colours in _COLOURS.values())
        for mode in (0, 1)
    )
    rule = f"<style>svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    return re.sub(r"(<svg [^>]*>)", lambda found: found[0] + rule, svg, count=1)


__all__ = ["confidence", "confusion", "coverage", "plots_of", "reliability"]

"""An evaluation as one HTML file that needs nothing else: figures, plots and tables.

    write_report(Path("report.html"), Provenance(model="banking77", …), evaluation)

What comes from a model or a file, labels and texts, is escaped, and the page may load nothing and run
nothing. The same evaluation makes the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ...errors import ConfigError
from ..comparison import Comparison
from ..evaluation import Evaluation
from ..metrics import OfLabel, Worst
from . import plots
from .sentences import (
    beside_baseline,
    calibrated,
    cards,
    decided,
    is_calibrated,
    leaning,
    number,
    percent,
    rows,
    sure_and_wrong,
    verdict,
)

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Provenance:
    """Where the figures come from: the model, its archive, the labelled file, and the date to print.

    asked   how texts were read and answered, where that was not as packaged
    """

    model: str
    version: str
    data: str
    data_sha256: str
    date: str
    archive: str | None = None
    archive_sha256: str | None = None
    asked: str = ""

    @property
    def name(self) -> str:
        """The model and its version."""
        return f"{self.model} {self.version}".strip()


@dataclass(frozen=True)
class Other:
    """The model that the first one is compared with, on the same texts."""

    provenance: Provenance
    evaluation: Evaluation
    comparison: Comparison


def write_report(
    path: Path,
    provenance: Provenance,
    evaluation: Evaluation,
    *,
    other: Other | None = None,
    calibration: Mapping[str, Any] | None = None,
    worst: Sequence[Worst] | None = None,
    decisions: Mapping[str, Any] | None = None,
    fitted_on_these: bool = False,
) -> None:
    """Write one HTML file.

    other         a second model, to stand beside the first
    calibration   what the archive's calibration.json holds
    worst         texts to show with their labels; none are shown if not given
    decisions     what the archive's thresholds and sets do on these texts
    fitted_on_these  whether the calibration was fitted on these very texts

    ConfigError where the file cannot be written.
    """
    html = render(
        provenance,
        evaluation,
        other=other,
        calibration=calibration,
        worst=worst,
        decisions=decisions,
        fitted_on_these=fitted_on_these,
    )
    write_html(path, html)


def write_html(path: Path, html: str) -> None:
    """Write a report; ConfigError where the file cannot be written."""
    try:
        path.write_bytes(html.encode("utf-8", "replace"))  # a text may hold half of a character
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); choose another") from error


def render(
    provenance: Provenance,
    evaluation: Evaluation,
    *,
    other: Other | None = None,
    calibration: Mapping[str, Any] | None = None,
    worst: Sequence[Worst] | None = None,
    decisions: Mapping[str, Any] | None = None,
    fitted_on_these: bool = False,
) -> str:
    """The HTML; for what is in it see write_report."""
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).from_string((_HERE / "report.html.jinja").read_text(encoding="utf-8"))
    drawn = plots.plots_of(evaluation, other.evaluation if other else None)
    return page.render(
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        provenance=provenance,
        evaluation=evaluation,
        cards=cards(evaluation),
        images={name: _data_uri(svg) for name, svg in drawn.items()},
        points=evaluation.coverage[::-10][::-1],
        labels=_by_f1(evaluation.of_labels),
        other=other,
        baseline=_baseline(provenance, evaluation, other),
        rows=rows(evaluation, other.evaluation, other.comparison) if other else [],
        verdict=verdict(other.comparison) if other else "",
        calibration=calibration if is_calibrated(calibration) else None,
        decisions=decided(decisions or {}),
        fitted_on_these=fitted_on_these,
        calibrated=calibrated(calibration or {}),
        worst=worst,
        label=_breakable,
        percent=percent,
        number=number,
        leaning=leaning(evaluation),
        sure_and_wrong=sure_and_wrong(evaluation),
    )


def _baseline(provenance: Provenance, one: Evaluation, other: Other | None) -> list[list[str]]:
    more = [other] if other else []
    return beside_baseline(
        [provenance.name, *(each.provenance.name for each in more)],
        [one, *(each.evaluation for each in more)],
    )


def _by_f1(labels: Sequence[OfLabel]) -> list[OfLabel]:
    """The worst first; those of which nothing can be said last."""
    return sorted(labels, key=lambda each: (each.f1 is None, each.f1 or 0, each.label))


def _breakable(label: str) -> Markup:
    """A label, escaped, that may go on in the next line after an underscore."""
    return Markup("_<wbr>").join(escape(part) for part in label.split("_"))


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"

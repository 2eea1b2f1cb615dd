"""The report of a model that was judged, alone or beside another."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ..comparison import Comparison
from ..metrics import Worst
from ..models import Judged
from .page import Other, Provenance, render


def report_of(
    one: Judged,
    other: Judged | None = None,
    comparison: Comparison | None = None,
    worst: Sequence[Worst] = (),
) -> str:
    """The HTML, with today's date; `worst` are texts to show."""
    beside = None
    if other and comparison:
        beside = Other(_provenance(other), other.evaluation, comparison)
    return render(
        _provenance(one),
        one.evaluation,
        other=beside,
        calibration=one.model.facts["calibration"],
        worst=worst or None,
        decisions=one.decisions,
        fitted_on_these=one.fitted_on_these,
    )


def _provenance(judged: Judged) -> Provenance:
    facts = judged.model.facts
    return Provenance(
        model=facts["name"],
        version=facts["version"],
        data=judged.labelled.source,
        data_sha256=judged.labelled.sha256,
        date=datetime.date.today().isoformat(),
        archive=facts["source"],
        archive_sha256=facts.get("sha256"),
        asked=", ".join(f"{name} {value}" for name, value in facts["options"].items()),
    )

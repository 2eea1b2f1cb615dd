"""What rows came to: how many, how sure, which labels, and which errors; summed up over parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_STEPS = 1_000  # of the histogram of probabilities


@dataclass
class Summary:
    """Counts, which can be added.

    labels         rows by label; of independent labels each that a row has
    undecided      rows without a label
    errors         rows by the code of their error
    histogram      rows by the probability of their label, or of the most probable one, in thousandths
    """

    rows: int = 0
    undecided: int = 0
    truncated: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    histogram: list[int] = field(default_factory=lambda: [0] * _STEPS)

    @classmethod
    def of(cls, table: pa.Table, *, independent: bool = False) -> Summary:
        """That of a scored table, of a model whose labels are independent or not."""
        labels = table["labels"].combine_chunks().flatten() if independent else table["label"]
        codes = pc.struct_field(table["error"], "code")
        steps = np.clip(
            (table["probability"].drop_null().to_numpy() * _STEPS).astype(int), 0, _STEPS - 1
        )
        errors = _counted(codes)
        return cls(
            rows=len(table),
            undecided=table["label"].null_count - errors.total(),
            truncated=pc.sum(table["truncated"]).as_py() or 0,
            labels=_counted(labels),
            errors=errors,
            histogram=np.bincount(steps, minlength=_STEPS).tolist(),
        )

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Summary:
        """One that was written as JSON."""
        return cls(
            **{**found, "labels": Counter(found["labels"]), "errors": Counter(found["errors"])}
        )

    def as_json(self) -> dict[str, Any]:
        """What `read` reads."""
        return dict(vars(self))

    def add(self, other: Summary) -> None:
        """Count the rows of another one too."""
        self.rows += other.rows
        self.undecided += other.undecided
        self.truncated += other.truncated
        self.labels.update(other.labels)
        self.errors.update(other.errors)
        self.histogram = [a + b for a, b in zip(self.histogram, other.histogram, strict=True)]

    @property
    def failed(self) -> int:
        """Rows with an error."""
        return self.errors.total()

    @property
    def quantiles(self) -> dict[str, float]:
        """Quantile → probability, to a thousandth; none where nothing was classified."""
        return quantiles(self.histogram)

    @property
    def shares(self) -> dict[str, float]:
        """Label → share of the rows that were classified, by falling share."""
        classified = max(1, self.rows - self.failed)
        return {label: count / classified for label, count in self.labels.most_common()}


def quantiles(histogram: list[int]) -> dict[str, float]:
    """Quantile → probability, from rows by thousandths."""
    total = sum(histogram)
    if not total:
        return {}
    reached = np.cumsum(histogram)
    places = np.searchsorted(reached, [each * total for each in QUANTILES])
    return {
        f"{each:g}": float(place) / _STEPS for each, place in zip(QUANTILES, places, strict=True)
    }


def _counted(values: pa.ChunkedArray) -> Counter[str]:
    counts = pc.value_counts(values.drop_null())
    found = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    return Counter(dict(found))

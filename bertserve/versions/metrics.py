"""What the workers of each version have counted, from the server's metrics address.

Counts are those since the server was started; docs/monitoring.md says what each metric means.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ..errors import ServerError
from ..handler.errors import SERIOUS

_OK = ("ok", "partial")
_MODE = "config.properties needs metrics_mode=prometheus"
Labels = dict[str, str]


@dataclass(frozen=True)
class Observed:
    """What a version did: shares are of its requests or texts, `confidence` and `entropy` are means.

    `milliseconds` is how long a text takes to compute, `labels` the share of each predicted label.
    """

    version: str
    requests: int
    failed: float
    texts: int
    tokens: float
    truncated: float
    milliseconds: float
    confidence: float
    entropy: float
    labels: dict[str, float]


class Metrics:
    """The metrics of a server at one moment."""

    def __init__(self, address: str, *, may_be_empty: bool = True) -> None:
        """Read them; ServerError where they cannot be, or are none though there should be some."""
        try:
            response = httpx.get(f"{address}/metrics", trust_env=False, timeout=10)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise ServerError(
                f"{address} shows no metrics ({type(error).__name__}); {_MODE}"
            ) from error
        self._samples: defaultdict[str, list[tuple[Labels, float]]] = defaultdict(list)
        for family in text_string_to_metric_families(response.text):
            for sample in family.samples:
                self._samples[_plain(sample.name)].append((sample.labels, sample.value))
        if not (self._samples or may_be_empty):
            raise ServerError(f"{address} shows no metrics; {_MODE}")

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of a metric that have these labels."""
        return sum(
            value for found, value in self._samples[_plain(name)] if labels.items() <= found.items()
        )

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The same, by the value of one more label."""
        sums: defaultdict[str, float] = defaultdict(float)
        for found, value in self._samples[_plain(name)]:
            if labels.items() <= found.items():
                sums[found[label]] += value
        return dict(sums)

    def failed_since(self, before: Metrics) -> float:
        """Share of the HTTP requests since then that were answered with a 5xx."""

        def since(name: str) -> float:
            return self.total(name) - before.total(name)

        failed = since("Requests5XX")
        return _share(failed, failed + since("Requests2XX") + since("Requests4XX"))

    def serious_since(self, before: Metrics, model: str, version: str) -> float:
        """Share of a version's texts since then, over any protocol, that failed by no caller's fault."""

        def since(**labels: str) -> float:
            own = {"model": model, "version": version, **labels}
            name = "bertserve_texts_total"
            return self.total(name, **own) - before.total(name, **own)

        return _share(sum(since(code=code) for code in SERIOUS), since())

    def observed(self, model: str, version: str) -> Observed:
        """What one version did."""
        own = {"model": model, "version": version}

        def total(name: str, **labels: str) -> float:
            return self.total(f"bertserve_{name}", **own, **labels)

        codes = self.by("code", "bertserve_requests_total", **own)
        requests, texts = sum(codes.values()), total("texts_total", code="ok")
        labels = self.by("label", "bertserve_labels_total", **own)
        return Observed(
            version=version,
            requests=int(requests),
            failed=_share(sum(n for code, n in codes.items() if code not in _OK), requests),
            texts=int(texts),
            tokens=_share(total("tokens_total"), texts),
            truncated=_share(total("truncated_texts_total"), texts),
            milliseconds=1000 * _share(total("step_seconds_total", step="forward"), texts),
            confidence=_share(total("confidence_sum"), texts),
            entropy=_share(total("entropy_sum"), texts),
            labels={label: _share(n, texts) for label, n in labels.items() if n},
        )


def _plain(name: str) -> str:
    """Without `_total`, which the parser gives to counters that are called otherwise."""
    return name.removesuffix("_total")


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0

"""What a new version must pass before it is trusted: its own texts, the version before it, callers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..clients import Model, Prediction
from ..errors import ServerError, TextError
from ..inputs import Input
from ..serving import Server
from .metrics import Metrics

# how far a worker's probabilities may be from those of the archive: other hardware rounds otherwise
_NEAR = {"float32": 1e-4}
_NEAR_IN_HALF_PRECISION = 0.05
_PROBE = 0.5  # seconds between looks at a version that is watched
_ENOUGH = 5  # looks before their median counts
_REPEATS = 3  # so that each worker is asked
_MOST_CHANGED = 100
_SHORT = 0.05  # seconds; of shorter requests chance decides how long they take


@dataclass(frozen=True)
class Limits:
    """What a new version may differ by.

    labels_changed   share of the texts that get another label than from the version before
    slowdown         how many times as long a request may take
    errors           share of the server's requests that may end with a 5xx while it is watched
    """

    labels_changed: float = 1.0
    slowdown: float = 3.0
    errors: float = 0.0


@dataclass(frozen=True)
class Changed:
    """A text that gets another label, and the labels before and after with their probabilities."""

    text: str
    text_pair: str | None
    before: str
    probability_before: float
    after: str
    probability: float


@dataclass(frozen=True)
class Comparison:
    """A new version beside the one before, on the same texts; shifts are of probabilities.

    `seconds` are medians of requests of one text. `changed` are the first texts that get another label.
    """

    texts: int
    labels_changed: float
    largest_shift: float
    mean_shift: float
    seconds_before: float
    seconds: float
    changed: tuple[Changed, ...] = ()


def compare(server: Server, before: Model, after: Model, texts: Sequence[Input]) -> Comparison:
    """Classify texts by two versions, one text a request."""
    old, seconds_before = _classify(server, before, texts)
    new, seconds = _classify(server, after, texts)
    judged = [
        (text, a.probabilities, b.probabilities)
        for text, a, b in zip(texts, old, new, strict=True)
        if isinstance(a, Prediction) and isinstance(b, Prediction)
    ]
    both = [(a, b) for _, a, b in judged]
    failed = sum(
        isinstance(b, TextError) and isinstance(a, Prediction)
        for a, b in zip(old, new, strict=True)
    )
    if failed:
        raise ServerError(f"{failed} of {len(texts)} texts fail that {before.version} classifies")
    changed = [_changed(*each) for each in judged if _first(each[1]) != _first(each[2])]
    shifts = [abs(a.get(label, 0.0) - b.get(label, 0.0)) for a, b in both for label in {**a, **b}]
    return Comparison(
        len(both),
        len(changed) / max(1, len(both)),
        max(shifts, default=0.0),
        statistics.fmean(shifts) if shifts else 0.0,
        seconds_before,
        seconds,
        tuple(changed[:_MOST_CHANGED]),
    )


def _changed(text: Input, before: Mapping[str, float], after: Mapping[str, float]) -> Changed:
    one, pair = (text, None) if isinstance(text, str) else (text.text, text.text_pair)
    old, new = _first(before), _first(after)
    return Changed(one, pair, old, before[old], new, after[new])


def _first(probabilities: Mapping[str, float]) -> str:
    return next(iter(probabilities))


def prove(server: Server, model: Model, own: Sequence[tuple[Input, dict[str, float]]]) -> None:
    """ServerError where a worker answers otherwise than the archive says."""
    with server.client(model.name, version=model.version) as client:
        near = _NEAR.get(client.describe().precision, _NEAR_IN_HALF_PRECISION)
        for _ in range(_REPEATS * max(1, model.ready)):
            for (text, expected), result in zip(
                own, client.classify([text for text, _ in own]), strict=True
            ):
                if isinstance(result, TextError):
                    raise ServerError(f"it fails on a text of its own archive: {result}")
                found = result.probabilities
                if found.keys() != expected.keys():
                    raise ServerError("its labels are not those of its archive")
                moved = max(abs(found[label] - expected[label]) for label in expected)
                if moved > near:
                    raise ServerError(
                        f"its probabilities differ by {moved:.2g} from those computed when it was "
                        f"packaged, for the text {_begun(text)!r}; {near:.0e} is allowed"
                    )


def _begun(text: Input) -> str:
    return (text if isinstance(text, str) else text.text)[:40]


def check_comparison(comparison: Comparison, limits: Limits) -> None:
    """ServerError where a new version differs by more than it may."""
    if comparison.labels_changed > limits.labels_changed:
        raise ServerError(
            f"{comparison.labels_changed:.1%} of {comparison.texts} texts get another label; "
            f"{limits.labels_changed:.1%} is allowed"
        )
    _check_time(comparison.seconds, comparison.seconds_before, limits)


def _check_time(seconds: float, before: float, limits: Limits) -> None:
    if seconds > limits.slowdown * max(_SHORT, before):
        raise ServerError(
            f"a request takes {seconds / before:.1f} times as long; "
            f"{limits.slowdown:g} times is allowed"
        )


def watch_default(
    server: Server,
    model: Model,
    text: Input,
    seconds: float,
    limits: Limits,
    comparison: Comparison | None,
    report: Callable[[str], None],
) -> None:
    """ServerError where too many requests fail or take too long, or another version is the default."""
    before = Metrics(server.addresses.metrics)
    taken: list[float] = []
    end = time.monotonic() + seconds
    # the default version, whatever canary there is
    with server.client(model.name, version=lambda _: None, deadline=0) as client:
        while (left := end - time.monotonic()) > 0:
            report(f"watching {model.version}: {left:.0f} s")
            start = time.monotonic()
            answered = client.classify(text, details=True)
            taken.append(time.monotonic() - start)
            if answered.version != model.version:
                raise ServerError(f"{answered.version} was made the default by somebody else")
            now = Metrics(server.addresses.metrics)
            failed = max(
                now.failed_since(before), now.serious_since(before, model.name, model.version)
            )
            if failed > limits.errors:
                raise ServerError(
                    f"{failed:.2%} of the requests fail since it is the default; "
                    f"{limits.errors:.2%} is allowed"
                )
            if comparison and len(taken) >= _ENOUGH:
                _check_time(statistics.median(taken), comparison.seconds_before, limits)
            time.sleep(min(_PROBE, left))


def _classify(
    server: Server, model: Model, texts: Sequence[Input]
) -> tuple[list[Prediction | TextError], float]:
    results, seconds = [], []
    with server.client(model.name, version=model.version) as client:
        for text in texts:
            start = time.monotonic()
            (result,) = client.classify([text])
            seconds.append(time.monotonic() - start)
            results.append(result)
    return results, statistics.median(seconds)

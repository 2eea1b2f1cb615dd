"""Replace a model by its next version without losing a request, or leave everything as it was.

    rollout(find(), Path("support-2.0.mar"))
    rollback(find(), "support")

The new version is loaded beside the old one and has to prove itself before it gets a request: the texts
that its archive brings must get the probabilities that were computed when it was packaged. Whatever fails
until it is trusted, Ctrl-C too, puts the former default back.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .canary import store_canary
from .errors import BertserveError, ModelNotFound, RolloutFailed, ServerError, TextError
from .handler.checksums import sha256
from .inspection import golden, inspect
from .interrupts import heeded, ignored
from .metrics import Metrics
from .results import Input, Model, Prediction
from .server import Server, alone
from .store import distrust
from .versions import RETIRED, Versions

# in the server's state folder: name → the version that was the default before
FORMER = "former.json"
# how far a worker's probabilities may be from those of the archive: other hardware rounds otherwise
_NEAR = {"float32": 1e-4}
_NEAR_IN_HALF_PRECISION = 0.05
_PROBE = 0.5  # seconds between looks at a version that is watched
_ENOUGH = 5  # looks before their median counts
_REPEATS = 3  # so that each worker is asked
_SHORT = 0.05  # seconds; of shorter requests chance decides how long they take

Report = Callable[[str], None]


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
class Comparison:
    """A new version beside the one before, on the same texts; shifts are of probabilities.

    `seconds` are medians of requests of one text.
    """

    texts: int
    labels_changed: float
    largest_shift: float
    mean_shift: float
    seconds_before: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a rollout did; `comparison` is None where there was no version before.

    `left` says how the former version is left: `retired`, `kept` with one worker, or `busy`, with all it
    had, for callers name it.
    """

    name: str
    version: str
    former: str | None
    left: Literal["retired", "kept", "busy"] | None
    comparison: Comparison | None


def rollout(
    server: Server,
    archive: Path,
    *,
    texts: Sequence[Input] = (),
    limits: Limits = Limits(),
    watch: float = 60.0,
    retire: bool = False,
    report: Report = lambda _: None,
) -> Outcome:
    """Make an archive the default version of its model; RolloutFailed where it is not taken.

    texts     to compare both versions on; those of the archive if not given
    watch     seconds in which the new version has to answer without an error, once it is the default
    retire    take the former version away; else it stays with one worker, for `rollback`
    report    is told of each step
    """
    versions = Versions(server)
    facts = inspect(archive)
    name, version = facts["name"], facts["version"]
    if not (own := golden(archive)):
        raise RolloutFailed(f"{archive} brings no texts to prove itself on; package it again")
    comparison, left = None, None
    with _alone(server), heeded() as heed:

        def step(text: str) -> None:
            heed()
            report(text)

        former = _default(versions, name)
        step(f"loading {name} {version}")
        with _undone_on_failure(versions, name, version, former, report):
            model = _load(versions, archive, name, version, former)
            step("proving its probabilities")
            _prove(server, model, own)
            if former:
                step(f"comparing it with {former.version}")
                comparison = compare(server, former, model, texts or [text for text, _ in own])
                _check(comparison, limits)
            step(f"making {version} the default")
            if former:
                _remember(server, name, former.version)
            versions.set_default(name, version)
            distrust(versions.state, name, former.version if former else None)
            _watch(server, model, own[0][0], watch, limits, comparison, step)
            heed()
        store_canary(versions.state, name, None)
        if former:
            left = _put_aside(versions, former, retire, report)
    return Outcome(name, version, former.version if former else None, left, comparison)


def _put_aside(
    versions: Versions, former: Model, retire: bool, report: Report
) -> Literal["retired", "kept", "busy"]:
    """Leave the former version with one worker, or take it away, once it is idle."""
    report(f"waiting until {former.version} is idle")
    try:
        versions.drain(former)
    except ServerError:
        return "busy"
    if retire:
        versions.unregister(former.name, former.version)
        return "retired"
    if former.wanted > 1:
        versions.scale(former.name, former.version, 1)
    return "kept"


def rollback(server: Server, name: str, report: Report = lambda _: None) -> Model:
    """Make the version that was the default before the default again; the other one stays.

    Its further workers load while it answers already.
    """
    with _alone(server):
        return _back(Versions(server), name, report)


def _back(versions: Versions, name: str, report: Report) -> Model:
    server, current = versions.server, versions.one(name)
    former = _former(server).get(name)
    if former is None or former == current.version:
        raise ServerError(
            f"no rollout of {name} is known here; `bertserve models set-default` chooses a version"
        )
    if all(model.version != former for model in versions.all(name)):
        raise ServerError(
            f"{name} {former} is served no more; roll out its archive, which is in "
            f"{versions.model_store / RETIRED}"
        )
    report(f"making {former} the default")
    versions.set_default(name, former)
    store_canary(versions.state, name, None)
    _remember(server, name, current.version)
    if versions.one(name, former).wanted < current.wanted:
        versions.scale(name, former, current.wanted, wait=False)
    return versions.one(name, former)


def compare(server: Server, before: Model, after: Model, texts: Sequence[Input]) -> Comparison:
    """Classify texts by two versions, one text a request."""
    old, seconds_before = _classify(server, before, texts)
    new, seconds = _classify(server, after, texts)
    both = [
        (a.probabilities, b.probabilities)
        for a, b in zip(old, new, strict=True)
        if isinstance(a, Prediction) and isinstance(b, Prediction)
    ]
    failed = sum(
        isinstance(b, TextError) and isinstance(a, Prediction)
        for a, b in zip(old, new, strict=True)
    )
    if failed:
        raise ServerError(f"{failed} of {len(texts)} texts fail that {before.version} classifies")
    changed = sum(next(iter(a)) != next(iter(b)) for a, b in both)
    shifts = [abs(a.get(label, 0.0) - b.get(label, 0.0)) for a, b in both for label in {**a, **b}]
    return Comparison(
        len(both),
        changed / max(1, len(both)),
        max(shifts, default=0.0),
        statistics.fmean(shifts) if shifts else 0.0,
        seconds_before,
        seconds,
    )


def _load(
    versions: Versions, archive: Path, name: str, version: str, former: Model | None
) -> Model:
    """Serve the version with as many workers as the former one, a canary of the same archive too."""
    served = next((m for m in _versions(versions, name) if m.version == version), None)
    if served is None:
        return versions.register(archive, former.wanted if former else None)
    stored = versions.model_store / served.archive
    if served.default or not stored.is_file() or sha256(stored) != sha256(archive):
        raise ServerError("it is served already; give what is new a version of its own")
    assert former is not None
    return versions.scale(name, version, max(former.wanted, served.wanted))


@contextmanager
def _undone_on_failure(
    versions: Versions, name: str, version: str, former: Model | None, report: Report
) -> Iterator[None]:
    before = next((model for model in _versions(versions, name) if model.version == version), None)
    remembered = _former(versions.server).get(name)
    try:
        yield
    except BaseException as error:
        with ignored():
            report("putting everything back")
            now = _undo(versions, name, version, former, before)
        if former and remembered:
            _remember(versions.server, name, remembered)
        if not isinstance(error, BertserveError):
            raise
        raise RolloutFailed(f"{name} {version} is not taken: {error}{now}") from error
    distrust(versions.state, name, None)


def _undo(
    versions: Versions, name: str, version: str, former: Model | None, before: Model | None
) -> str:
    """Serve what was served: the former default version, and `before`, the version itself; says so."""
    try:
        if former and versions.one(name).version != former.version:
            versions.set_default(name, former.version)
        added = next((m for m in _versions(versions, name) if m.version == version), None)
        if added and before is None:
            versions.unregister(name, version)
        elif added and before and added.wanted != before.wanted:
            versions.scale(name, version, before.wanted)
        distrust(versions.state, name, None)
    except BertserveError as error:  # a start before that is mended serves the former version
        return f"; and not everything could be put back ({error}): look at `bertserve models list`"
    return f"; {former.version} is served as before" if former else ""


def _alone(server: Server) -> AbstractContextManager[None]:
    refusal = "another rollout or rollback is under way on this server; wait for it"
    return alone(Path(server.directory) / "rollout.lock", refusal)


def _prove(server: Server, model: Model, own: Sequence[tuple[Input, dict[str, float]]]) -> None:
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


def _check(comparison: Comparison, limits: Limits) -> None:
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


def _watch(
    server: Server,
    model: Model,
    text: Input,
    seconds: float,
    limits: Limits,
    comparison: Comparison | None,
    report: Report,
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


def _versions(versions: Versions, name: str) -> list[Model]:
    try:
        return versions.all(name)
    except ModelNotFound:
        return []


def _default(versions: Versions, name: str) -> Model | None:
    return next((model for model in _versions(versions, name) if model.default), None)


def _former(server: Server) -> dict[str, str]:
    try:
        return dict(json.loads((Path(server.directory) / FORMER).read_bytes()))
    except (OSError, ValueError):
        return {}


def _remember(server: Server, name: str, version: str) -> None:
    path = Path(server.directory) / FORMER
    path.write_text(json.dumps({**_former(server), name: version}))

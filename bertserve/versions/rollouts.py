"""Replace a model by its next version without losing a request, or leave everything as it was.

    rollout(find(), Path("support-2.0.mar"))

The new version is loaded beside the old one and has to prove itself before it gets a request: the texts
that its archive brings must get the probabilities that were computed when it was packaged. Whatever fails
until it is trusted, Ctrl-C too, puts the former default back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..archives import golden, inspect
from ..clients import Model, store_canary
from ..errors import BertserveError, ModelNotFound, RolloutFailed, ServerError
from ..handler.checksums import sha256
from ..inputs import Input
from ..serving import Server, distrust
from ..system import heeded, ignored
from .checks import Comparison, Limits, check_comparison, compare, prove, watch_default
from .rollbacks import former_defaults, one_at_a_time, remember_former
from .versions import Versions

Report = Callable[[str], None]
_LIMITS = Limits()


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
    limits: Limits = _LIMITS,
    watch: float = 60.0,
    retire: bool = False,
    report: Report = lambda _: None,
    compared: Callable[[Comparison], None] = lambda _: None,
) -> Outcome:
    """Make an archive the default version of its model; RolloutFailed where it is not taken.

    texts     to compare both versions on; those of the archive if not given
    watch     seconds in which the new version has to answer without an error, once it is the default
    retire    take the former version away; else it stays with one worker, for `rollback`
    report    is told of each step
    compared  is told what the comparison found, before it is judged
    """
    versions = Versions(server)
    facts = inspect(archive)
    name, version = facts["name"], facts["version"]
    if not (own := golden(archive)):
        raise RolloutFailed(f"{archive} brings no texts to prove itself on; package it again")
    comparison, left = None, None
    with one_at_a_time(server), heeded() as heed:

        def step(text: str) -> None:
            heed()
            report(text)

        former = _default(versions, name)
        step(f"loading {name} {version}")
        with _undone_on_failure(versions, name, version, former, report):
            model = _load(versions, archive, name, version, former)
            step("proving its probabilities")
            prove(server, model, own)
            if former:
                step(f"comparing it with {former.version}")
                comparison = compare(server, former, model, texts or [text for text, _ in own])
                compared(comparison)
                check_comparison(comparison, limits)
            step(f"making {version} the default")
            if former:
                remember_former(server, name, former.version)
            versions.set_default(name, version)
            distrust(versions.state, name, former.version if former else None)
            watch_default(server, model, own[0][0], watch, limits, comparison, step)
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
    remembered = former_defaults(versions.server).get(name)
    try:
        yield
    except BaseException as error:
        with ignored():
            report("putting everything back")
            now = _undo(versions, name, version, former, before)
        if former and remembered:
            remember_former(versions.server, name, remembered)
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


def _versions(versions: Versions, name: str) -> list[Model]:
    try:
        return versions.all(name)
    except ModelNotFound:
        return []


def _default(versions: Versions, name: str) -> Model | None:
    return next((model for model in _versions(versions, name) if model.default), None)

"""The archives of a model store, and which version of a name is served by default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from packaging.version import InvalidVersion, Version

from ..archives import check_name, read_manifest
from ..errors import PackageError, ServerError

# in the state folder, while a rollout is under way
_UNTRUSTED = "untrusted.json"


@dataclass(frozen=True)
class StoredArchive:
    """One archive of a model store, with the name and version that its manifest gives it."""

    path: Path
    name: str
    version: str


def stored_archives(store: Path, name: str | None = None) -> list[StoredArchive]:
    """Every archive of a model store; ServerError where there is none, or two are the same version.

    With a name they are versions of one model that is served as that, whatever its archives say.
    """
    archives = [
        _read(path) for path in sorted(store.glob("*.mar")) if not path.name.startswith(".")
    ]
    if not archives:
        raise ServerError(
            f"{store} holds no archive; build one with `bertserve package`, "
            "or name another folder with --model-store"
        )
    seen: dict[tuple[str, str], Path] = {}
    for archive in archives:
        twin = seen.setdefault((archive.name, archive.version), archive.path)
        if twin != archive.path:
            raise ServerError(
                f"{twin.name} and {archive.path.name} are both {archive.name} {archive.version}; "
                f"remove one of them from {store}"
            )
    return archives if name is None else _renamed(archives, name)


def look_through(store: Path) -> tuple[list[StoredArchive], list[str]]:
    """The archives of a model store that can be read, and of each other one why it cannot."""
    found, problems = [], []
    for path in sorted(store.glob("*.mar")):
        if not path.name.startswith("."):
            try:
                found.append(_read(path))
            except (PackageError, ServerError) as error:
                problems.append(str(error))
    return found, problems


def _renamed(archives: Sequence[StoredArchive], name: str) -> list[StoredArchive]:
    """Versions of one model under another name, which TorchServe serves them as."""
    names = sorted({archive.name for archive in archives})
    if len(names) > 1:
        raise ServerError(
            f"{archives[0].path.parent} holds {' and '.join(names)}, and only one model can be served as "
            f"{name}; leave one of them there"
        )
    return [replace(archive, name=check_name("the name", name)) for archive in archives]


def load_order(
    archives: Iterable[StoredArchive], defaults: Mapping[str, str]
) -> list[StoredArchive]:
    """The archives in the order to load them: TorchServe serves by default what it loads first.

    `defaults` gives the version of a name that was the default before; a name that is new, or whose
    default is gone, gets its newest version.
    """
    newest_first = sorted(archives, key=lambda archive: version_key(archive.version), reverse=True)
    return sorted(
        newest_first,
        key=lambda archive: (archive.name, archive.version != defaults.get(archive.name)),
    )


def version_key(version: str) -> tuple[int, Any]:
    """Sorts 1.10 after 1.9; what is no version number comes before, by name."""
    try:
        return (1, Version(version))
    except InvalidVersion:
        return (0, version)


@dataclass(frozen=True)
class WasServed:
    """A version that a server served; `noted` is when that was written, in seconds since 1970."""

    name: str
    version: str
    default: bool
    workers: int
    noted: float


def serving_before(
    logs: Path, written_off: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> list[WasServed]:
    """What the last server that logged here served, from TorchServe's own snapshots.

    TorchServe counts workers that are written off (see `workers`), of each "NAME/VERSION".

    TorchServe writes a snapshot at every change and never removes one. Only the newest is kept here, and
    one before it: a server that was killed may have left its last one half written.
    """
    snapshots = sorted((logs / "config").glob("*.cfg"), reverse=True)
    for outdated in snapshots[2:]:
        outdated.unlink()
    found = next((found for path in snapshots[:2] if (found := _read_snapshot(path))), [])
    lost = {was: len(written_off.get(f"{was.name}/{was.version}", ())) for was in found}
    return [replace(was, workers=max(0, was.workers - count)) for was, count in lost.items()]


def _read_snapshot(snapshot_file: Path) -> list[WasServed]:
    """What one snapshot names; nothing where it cannot be read."""
    try:
        lines = snapshot_file.read_text(encoding="utf-8").splitlines()
        snapshot = next(line for line in lines if line.startswith("model_snapshot="))
        models = json.loads(snapshot.partition("=")[2].replace("\\n", "").replace("\\", ""))
        noted = snapshot_file.stat().st_mtime
        return [
            WasServed(name, version, bool(state["defaultVersion"]), int(state["minWorkers"]), noted)
            for name, versions in models["models"].items()
            for version, state in versions.items()
        ]
    except (StopIteration, OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _read(path: Path) -> StoredArchive:
    if "," in path.name:  # TorchServe splits its list of models there
        raise ServerError(f"{path} has a comma in its name; rename it")
    try:
        return StoredArchive(path, *read_manifest(path))
    except PackageError as error:
        raise PackageError(f"{error}; build it again, or take it out of the store") from error


def distrust(directory: Path, name: str, former: str | None) -> None:
    """While a rollout is under way, have a start serve the former version by default; None ends that."""
    file = directory / _UNTRUSTED
    if former is None:
        file.unlink(missing_ok=True)
    else:
        file.write_text(json.dumps({name: former}))


def take_untrusted(directory: Path) -> dict[str, str]:
    """Name → version that was the default before a rollout that never ended; forgotten from now on."""
    file = directory / _UNTRUSTED
    try:
        found = dict(json.loads(file.read_bytes()))
    except (OSError, ValueError):
        return {}
    file.unlink()
    return found

"""Make the version of a model that was the default before the default again.

rollback(find(), "support")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ..clients import Model, store_canary
from ..errors import ServerError
from ..serving import Server, alone
from .versions import RETIRED, Versions

Report = Callable[[str], None]
# in the server's state folder: name → the version that was the default before
FORMER = "former.json"


def rollback(server: Server, name: str, report: Report = lambda _: None) -> Model:
    """Make the version that was the default before the default again; the other one stays.

    Its further workers load while it answers already.
    """
    with one_at_a_time(server):
        return _back(Versions(server), name, report)


def _back(versions: Versions, name: str, report: Report) -> Model:
    server, current = versions.server, versions.one(name)
    former = former_defaults(server).get(name)
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
    remember_former(server, name, current.version)
    if versions.one(name, former).wanted < current.wanted:
        versions.scale(name, former, current.wanted, wait=False)
    return versions.one(name, former)


def former_defaults(server: Server) -> dict[str, str]:
    """Name → the version that was the default before the last rollout or rollback."""
    try:
        return dict(json.loads((Path(server.directory) / FORMER).read_bytes()))
    except (OSError, ValueError):
        return {}


def remember_former(server: Server, name: str, version: str) -> None:
    """Have `rollback` know the version to go back to."""
    path = Path(server.directory) / FORMER
    path.write_text(json.dumps({**former_defaults(server), name: version}))


def one_at_a_time(server: Server) -> AbstractContextManager[None]:
    """Hold the right to roll out or back, which one program has at a time on a server."""
    refusal = "another rollout or rollback is under way on this server; wait for it"
    return alone(Path(server.directory) / "rollout.lock", refusal)

"""Models: what is served, how it is computed and calibrated, and how it is at the moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..clients import Description, Model
from ..serving import Server
from ..versions import Versions
from .live import Live
from .replies import Json, events

Find = Callable[[], Server]
_EVERY = 2.0  # seconds


class Models:
    """What is served; a worker is asked once what it has loaded, for it has other work."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._described: dict[tuple[object, ...], Description | None] = {}
        self.live = Live(self.look, _EVERY)

    def look(self) -> dict[str, Any]:
        """The server's address, and every version."""
        server = self._find()
        versions = Versions(server)
        # it is looked again soon: nothing is tried again until then
        found, canaries = server.models(timeout=_EVERY, deadline=0), versions.canaries()
        described = {_key(server, model): self._describe(server, model) for model in found}
        self._described = {key: value for key, value in described.items() if value}
        return {
            "server": {"inference": server.addresses.inference, "pid": server.pid},
            "models": [
                {
                    **asdict(model),
                    "ready": model.ready,
                    "state": model.state,
                    "canary": _percent(canaries.get(model.name), model),
                    "description": _shown(described[_key(server, model)]),
                }
                for model in found
            ],
        }

    def _describe(self, server: Server, model: Model) -> Description | None:
        key = _key(server, model)
        return self._described.get(key) or Versions(server).description(model)


def routes(models: Models) -> list[BaseRoute]:
    """Its paths."""

    async def once(_: Request) -> Response:
        return Json(await run_in_threadpool(models.look))

    async def live(_: Request) -> Response:
        return events(models.live.values())

    return [Route("/api/models", once), Route("/api/models/live", live)]


def _key(server: Server, model: Model) -> tuple[object, ...]:
    """What stays while the same workers serve the same archive."""
    workers = frozenset(worker.pid for worker in model.workers)
    return server.pid, model.name, model.version, workers


def _percent(canary: Any, model: Model) -> float | None:
    return canary.percent if canary and canary.version == model.version else None


def _shown(description: Description | None) -> dict[str, Any] | None:
    """Without the numbers of a calibration, of which there may be thousands."""
    if description is None:
        return None
    found = asdict(description)
    kept = ("method", "threshold", "sets", "provenance")
    calibration = {key: found["calibration"][key] for key in kept if key in found["calibration"]}
    del found["checksums"]
    return {**found, "calibration": calibration}

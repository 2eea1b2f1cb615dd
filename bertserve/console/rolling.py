"""Roll out: an archive of the model store, step by step; stop, rollback, canary.

The rollout is a process of its own. It goes on when the browser is closed; it is undone when the console
ends, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..errors import ConfigError, ServerError
from ..serving import Server
from ..versions import Limits, Versions, former_defaults, rollback
from .live import Posted
from .replies import Json, asked, events

Find = Callable[[], Server]
_CODE = (
    f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); "
    "from bertserve.console.rollout_process import main; main()"
)
_LONGEST_LINE = 16 << 20  # bytes


class Rollouts:
    """One rollout at a time, and what is known of the last."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._is_under_way = False
        self._process: Process | None = None
        self._following: asyncio.Task[None] | None = None
        self.shown = Posted({"state": "idle"})

    def offered(self) -> dict[str, Any]:
        """What can be rolled out, and back."""
        server = self._find()
        versions = Versions(server)
        served = {(model.name, model.version) for model in versions.all()}
        archives, problems = versions.offered()
        return {
            "archives": [
                {"file": each.path.name, "name": each.name, "version": each.version}
                for each in archives
            ],
            "problems": problems,
            "former": {
                name: version
                for name, version in former_defaults(server).items()
                if (name, version) in served
            },
        }

    async def start(self, body: Mapping[str, Any]) -> None:
        """Begin; ServerError where one is under way, ConfigError where the archive is not offered."""
        if self._is_under_way:
            raise ServerError("a rollout is under way; wait for it, or stop it")
        self._is_under_way = True  # before anything is waited for: two may ask at once
        try:
            await self._start(body)
        except BaseException:
            self._is_under_way = False
            raise

    async def _start(self, body: Mapping[str, Any]) -> None:
        server = self._find()
        offered, _ = await run_in_threadpool(Versions(server).offered)
        file = body.get("file")
        archive = next((each for each in offered if each.path.name == file), None)
        if archive is None:
            raise ConfigError("that archive is not in the model store, or is served already")
        spec = {
            "config": server.addresses.path,
            "archive": str(archive.path),
            "texts": str(body.get("texts") or ""),
            "watch": _number(body, "watch", 60.0),
            "labels_changed": _number(body, "labels_changed", Limits.labels_changed),
            "slowdown": _number(body, "slowdown", Limits.slowdown),
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", _CODE, str(os.getpid())),
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,  # a Ctrl-C on the terminal is the console's, which passes it on
            limit=_LONGEST_LINE,
        )
        begun = {"state": "running", "name": archive.name, "version": archive.version, "steps": []}
        self.shown.post(begun)
        self._following = asyncio.create_task(self._follow(self._process, spec))

    async def _follow(self, process: Process, spec: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.close()
        ended, last = False, "the rollout's process ended; look at what is served"
        async for line in process.stdout:
            text = line.decode(errors="replace").strip()
            if not text.startswith("{"):
                last = text or last
                continue
            ended = self._heard(json.loads(text)) or ended
        status = await process.wait()
        if status == -signal.SIGTERM:  # before it had begun anything, or it would have undone that
            self._heard({"stopped": True})
        elif not ended:
            self.shown.post({**self.shown.value, "state": "failed", "error": {"message": last}})
        self._process, self._is_under_way = None, False

    def _heard(self, said: dict[str, Any]) -> bool:
        """Show what the process says; whether it was the last thing."""
        known = self.shown.value
        if step := said.get("step"):
            self.shown.post({**known, "steps": _with(known["steps"], step)})
            return False
        if "comparison" in said:
            self.shown.post({**known, **said})
            return False
        is_stopped = "stopped" in said
        state = "stopped" if is_stopped else "failed" if "error" in said else "done"
        self.shown.post({**known, **said, "state": state})
        return True

    def stop(self) -> None:
        """Have it put everything back."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            self.shown.post({**self.shown.value, "state": "stopping"})

    async def end(self) -> None:
        """The same, and wait until it is done."""
        self.stop()
        if self._following:
            await self._following


def routes(rollouts: Rollouts, find: Find) -> list[BaseRoute]:
    """Its paths."""

    async def live(_: Request) -> Response:
        return events(rollouts.shown.values())

    async def offered(_: Request) -> Response:
        return Json(await run_in_threadpool(rollouts.offered))

    async def start(request: Request) -> Response:
        await rollouts.start(await asked(request))
        return Json({"started": True})

    async def stop(_: Request) -> Response:
        rollouts.stop()
        return Json({"stopping": True})

    async def back(request: Request) -> Response:
        name = str((await asked(request)).get("model"))
        model = await run_in_threadpool(rollback, find(), name)
        return Json({"name": model.name, "version": model.version})

    async def canary(request: Request) -> Response:
        body = await asked(request)
        name, version = str(body.get("model")), str(body.get("version"))
        percent = _number(body, "percent", 0.0)
        await run_in_threadpool(Versions(find()).canary, name, version, percent)
        return Json({"name": name, "version": version, "percent": percent})

    return [
        Route("/api/rollouts", offered),
        Route("/api/rollouts", start, methods=["POST"]),
        Route("/api/rollouts/live", live),
        Route("/api/rollouts/stop", stop, methods=["POST"]),
        Route("/api/rollback", back, methods=["POST"]),
        Route("/api/canary", canary, methods=["POST"]),
    ]


def _with(steps: list[str], step: str) -> list[str]:
    """One more step; one that only says more of itself after a colon takes the place of the last."""
    if steps and steps[-1].partition(":")[0] == step.partition(":")[0]:
        return [*steps[:-1], step]
    return [*steps, step]


def _number(body: Mapping[str, Any], key: str, usual: float) -> float:
    value = body.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ConfigError(f"{key} is no number that is not below 0")
    return float(value)

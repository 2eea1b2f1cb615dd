"""Traffic: the last hour, from the server's metrics, which are fetched seldom while nobody looks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..errors import BertserveError
from ..serving import Server
from ..versions import Metrics
from ..versions import Traffic as Counted
from .live import Live
from .replies import events

Find = Callable[[], Server]
_EVERY, _SELDOM = 2.0, 30.0  # seconds


class Traffic:
    """What is counted, and shown."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._counted = Counted()
        self.live = Live(self._look, _EVERY)

    def _look(self) -> dict[str, Any]:
        self._count()
        return {"versions": [asdict(each) for each in self._counted.told()]}

    def _count(self) -> None:
        # a worker tells of itself as soon as it has loaded its model
        self._counted.add(Metrics(self._find().addresses.metrics, may_be_empty=False))

    async def keep_counting(self) -> None:
        """Go on for ever, so that there is an hour to show to whoever comes."""
        while True:
            if not self.live.is_watched:
                with contextlib.suppress(BertserveError):  # the server is away
                    await run_in_threadpool(self._count)
            await asyncio.sleep(_SELDOM)


def routes(traffic: Traffic) -> list[BaseRoute]:
    """Its paths."""

    async def live(_: Request) -> Response:
        return events(traffic.live.values())

    return [Route("/api/traffic/live", live)]

"""The console's paths: the page, and what the page asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..errors import BertserveError
from ..handler.errors import LoadError
from ..serving import Server
from . import judging, rolling, serving, traffic, trying
from .replies import Json, on_problem

PAGE = Path(__file__).parent / "page"


def application(find: Callable[[], Server], *, manage: bool) -> Starlette:
    """All of it; `find` gives the server that runs, and without `manage` nothing can be changed."""
    models, counted = serving.Models(find), traffic.Traffic(find)
    quality, rollouts = judging.Quality(find), rolling.Rollouts(find)

    async def page(_: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def about(_: Request) -> Response:
        return Json({"manage": manage, "version": version("bertserve")})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        counting = asyncio.create_task(counted.keep_counting())
        try:
            yield
        finally:
            counting.cancel()
            quality.end()
            await rollouts.end()

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/about", about),
            *trying.routes(find),
            *serving.routes(models),
            *traffic.routes(counted),
            *judging.routes(quality),
            *(rolling.routes(rollouts, find) if manage else []),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        exception_handlers=dict.fromkeys((BertserveError, LoadError, OSError), on_problem),
        lifespan=lifespan,
    )

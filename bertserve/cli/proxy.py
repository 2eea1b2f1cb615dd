"""Command: proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from .. import proxy as beside
from ..serving import usual_config
from .app import ConfigFile, app, err


@app.command()
def proxy(
    tokens: Annotated[
        Path,
        typer.Option(help="Folder with a file for each caller: its name, and in it the token."),
    ],
    config: ConfigFile = None,
    http: Annotated[str, typer.Option(help="Where HTTP is answered.")] = "0.0.0.0:8000",
    grpc: Annotated[str, typer.Option(help="Where gRPC is answered.")] = "0.0.0.0:9000",
    tls: Annotated[
        Path | None,
        typer.Option(
            help="Folder with tls.crt and tls.key; plain if not given.", show_default=False
        ),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name that callers know it by; any if not given.", show_default=False),
    ] = None,
) -> None:
    """Run nginx beside a server: callers show tokens of their own, the server sees its key."""
    place = beside.Place(config or usual_config(), tokens, http, grpc, tls, tuple(host or ()))
    beside.run(place, lambda said: err.print(escape(said), soft_wrap=True, highlight=False))

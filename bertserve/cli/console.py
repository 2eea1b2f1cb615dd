"""Commands: console, openapi."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import openapi as documents
from .. import serving
from .app import AsJson, ConfigFile, Name, app, err, extra_installed, out
from .printing import print_json


@app.command()
def console(
    port: Annotated[
        int, typer.Option(help="Of 127.0.0.1; 0 for any that is free.", min=0, max=65535)
    ] = 8084,
    manage: Annotated[
        bool, typer.Option("--manage", help="Let the page roll out, roll back and set canaries.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve a local page to see and try what is served; its address opens in one browser, once."""
    with extra_installed("console"):
        from ..console import console as run

    def opened(address: str) -> None:
        if as_json:
            print_json({"address": address})
            return
        out.print(address, soft_wrap=True, highlight=False)
        err.print("open it in a browser; Ctrl-C ends it")

    run(lambda: serving.find(config), port=port, manage=manage, opened=opened)


@app.command()
def openapi(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Version; the default one.")] = None,
    config: ConfigFile = None,
) -> None:
    """Print the HTTP API of a served model as an OpenAPI 3.1 document, in JSON."""
    print_json(documents.served(serving.find(config), name, version))

"""Commands: console, openapi."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import openapi as documents
from .. import serving
from .app import ConfigFile, Name, app
from .printing import print_json


@app.command()
def openapi(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Version; the default one.")] = None,
    config: ConfigFile = None,
) -> None:
    """Print the HTTP API of a served model as an OpenAPI 3.1 document, in JSON."""
    print_json(documents.served(serving.find(config), name, version))

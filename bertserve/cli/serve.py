"""Commands: serve, status, drain, stop, and proxy, which stands beside a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from .. import proxy as proxies
from .. import serving
from ..clients import Model
from ..errors import NotRunning, ServerError
from ..serving import read_config, usual_config
from ..system import as_ctrl_c
from .app import AsJson, ConfigFile, app, err, out
from .printing import print_json, print_status, progress_line, warn


@app.command()
def serve(
    config: ConfigFile = None,
    model_store: Annotated[
        Path | None,
        typer.Option(help="Folder of the archives; ./model_store by default.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="What the only model of the store is served as; its own name if not given.",
            show_default=False,
        ),
    ] = None,
    foreground: Annotated[bool, typer.Option(help="Stay, and pass signals on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start TorchServe with every archive of the model store, and wait until it is ready."""
    with progress_line() as steps:
        task = steps.add_task("starting TorchServe")

        def show(models: Sequence[Model]) -> None:
            ready = [f"{m.name} {m.version} {m.ready}/{m.wanted}" for m in models]
            steps.update(task, description=f"workers ready: {', '.join(ready)}")

        found = read_config(config or usual_config())
        if found.envelope:
            warn(
                f"service_envelope={found.envelope} is left out: the handler reads that protocol itself, "
                "in batches too"
            )
        as_ctrl_c()
        server = serving.start(found, model_store, show, name, foreground)
    if not foreground:
        print_status(server.status(), as_json)
        return
    try:
        print_status(server.status(), as_json)
        server.wait()
    finally:  # where nobody reads the status too
        server.stop()


@app.command()
def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the running server: addresses, key file, logs, models."""
    try:
        found = serving.find(config).status()
    except NotRunning:
        if not as_json:
            raise
        found = {"running": False}
    print_status(found, as_json)
    if not found["running"]:
        raise typer.Exit(1)


@app.command()
def drain(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Have the running server be ready no more, and wait until it has answered what it was asked."""
    server = serving.find(config)
    with progress_line() as steps:
        steps.add_task("waiting for what is under way")
        left = server.drain()
    is_drained = not any(left.values())
    if as_json:
        print_json({"drained": is_drained, **left})
    elif is_drained:
        out.print("drained")
    if not is_drained:
        raise ServerError(
            f"the server is not drained: {left['waiting']} requests wait, {left['busy']} workers are "
            "at a batch; try again, or end it all the same with `bertserve stop`"
        )


@app.command()
def stop(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """End the running server and its workers."""
    server = serving.find(config)
    with progress_line() as steps:
        steps.add_task("stopping TorchServe")
        server.stop()
    if as_json:
        print_json({"stopped": server.pid})
    else:
        out.print("stopped")


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
    place = proxies.Place(config or usual_config(), tokens, http, grpc, tls, tuple(host or ()))
    proxies.run(place, lambda said: err.print(escape(said), soft_wrap=True, highlight=False))

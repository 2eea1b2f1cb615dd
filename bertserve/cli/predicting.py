"""Command: predict."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from itertools import tee
from pathlib import Path
from typing import Annotated, TextIO, cast

import typer

from .. import server as servers
from ..errors import ConfigError, TextError
from ..files import write_csv, write_json, write_jsonl
from ..results import Input, Prediction
from .inputs import given_texts
from .printing import print_predictions
from .program import AsJson, ConfigFile, app, out
from .shown import ShownStream


class Output(str, Enum):
    """How results are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


WRITERS = {Output.json: write_json, Output.jsonl: write_jsonl, Output.csv: write_csv}


@app.command()
def predict(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; - reads them from standard input.")
    ] = None,
    pair: Annotated[
        list[str] | None, typer.Option(help="Second text of a pair; one for each text.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Texts from a .csv, a .jsonl, or a text a line.", show_default=False),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of the texts; text if not given.", show_default=False)
    ] = None,
    pair_column: Annotated[
        str | None, typer.Option(help="Column of the second texts of pairs.", show_default=False)
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version; the default one if not given.", show_default=False)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Most probable labels only.", show_default=False)
    ] = None,
    details: Annotated[bool, typer.Option(help="Tokens, logits and version too.")] = False,
    grpc: Annotated[bool, typer.Option("--grpc", help="Over gRPC instead of HTTP.")] = False,
    output: Annotated[
        Output | None,
        typer.Option(help="A table on a terminal, JSON in a pipe.", show_default=False),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Classify texts, a file of any length too."""
    if as_json and output not in (None, Output.json):
        raise ConfigError(f"--json and --output {output} contradict each other; give one of them")
    server = servers.find(config)
    usual = Output.table if out.is_terminal else Output.json
    shape = Output.json if as_json else output or usual
    failed = 0
    with (
        (
            server.grpc_client(name, version=version)
            if grpc
            else server.client(name, version=version)
        ) as client,
        given_texts(texts or [], pair or [], file, column, pair_column) as inputs,
    ):
        sent, shown = tee(inputs)
        results = client.classify_each(sent, top_k=top_k, details=details)

        def counted() -> Iterator[tuple[Input, Prediction | TextError]]:
            nonlocal failed
            for text, result in zip(shown, results, strict=True):
                failed += isinstance(result, TextError)
                yield text, result

        if shape is Output.table:
            print_predictions(counted(), top_k or 3)
        else:
            WRITERS[shape](counted(), cast(TextIO, ShownStream(sys.stdout)))
    if failed:
        raise typer.Exit(1)

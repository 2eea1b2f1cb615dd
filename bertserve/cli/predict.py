"""Command: predict."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import tee
from pathlib import Path
from typing import Annotated, TextIO, cast

import typer

from .. import serving
from ..clients import Result, Row, write_csv, write_json, write_jsonl
from ..errors import ConfigError, TextError
from .app import AsJson, AskedLength, AskedLongText, ConfigFile, Uncalibrated, app, asked, out
from .printing import print_predictions
from .terminal import ShownStream
from .texts import given_rows


class Output(str, Enum):
    """How results are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"


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
        typer.Option(
            help="Texts from a .csv, .tsv or .jsonl, or a text a line.", show_default=False
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of the texts; text if not given.", show_default=False)
    ] = None,
    pair_column: Annotated[
        str | None, typer.Option(help="Column of the second texts of pairs.", show_default=False)
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the file to keep beside the results: id,date.", show_default=False
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version; the default one if not given.", show_default=False)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Most probable labels only.", show_default=False)
    ] = None,
    max_length: AskedLength = None,
    long_text: AskedLongText = None,
    uncalibrated: Uncalibrated = False,
    details: Annotated[bool, typer.Option(help="Tokens, logits and version too.")] = False,
    grpc: Annotated[bool, typer.Option("--grpc", help="Over gRPC instead of HTTP.")] = False,
    output: Annotated[
        Output | None,
        typer.Option(help="A table on a terminal, JSON in a pipe.", show_default=False),
    ] = None,
    escape_formulas: Annotated[
        bool,
        typer.Option(
            "--escape-formulas", help="In csv and tsv put ' before what a spreadsheet would run."
        ),
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Classify texts, a file of any length too."""
    if as_json and output not in (None, Output.json):
        raise ConfigError(f"--json and --output {output} contradict each other; give one of them")
    usual = Output.table if out.is_terminal else Output.json
    shape = Output.json if as_json else output or usual
    if escape_formulas and shape not in (Output.csv, Output.tsv):
        raise ConfigError("--escape-formulas is for spreadsheets; give --output csv or tsv too")
    kept = list(dict.fromkeys(name for names in csv.reader(keep or []) for name in names))
    options = asked(max_length=max_length, long_text=long_text, uncalibrated=uncalibrated)
    options |= {"top_k": top_k, "details": details}
    server = serving.find(config)
    connect = server.grpc_client if grpc else server.client
    failed = 0
    with (
        connect(name, version=version) as client,
        given_rows(texts or [], pair or [], file, column, pair_column, kept) as rows,
    ):
        sent, shown = tee(rows)
        found = client.classify_each(
            (row.text for row in sent if not isinstance(row.text, TextError)),
            **options,
        )

        def counted() -> Iterator[tuple[Row, Result]]:
            nonlocal failed
            for row, result in _beside(shown, found):
                failed += isinstance(result, TextError)
                yield row, result

        stream = cast(TextIO, ShownStream(sys.stdout))
        if shape is Output.table:
            print_predictions(counted(), top_k or 3, kept)
        elif shape is Output.json:
            write_json(counted(), stream)
        elif shape is Output.jsonl:
            write_jsonl(counted(), stream)
        else:
            labels = client.describe().labels
            delimiter = "," if shape is Output.csv else "\t"
            write_csv(
                counted(), stream, labels, kept,
                delimiter=delimiter, escape_formulas=escape_formulas,
            )  # fmt: skip
    if failed:
        raise typer.Exit(1)


def _beside(rows: Iterable[Row], results: Iterator[Result]) -> Iterator[tuple[Row, Result]]:
    """Each row and its result; a row without a text has its own error."""
    for row in rows:
        yield row, row.text if isinstance(row.text, TextError) else next(results)
    next(results, None)  # where the file cannot be read on, this says so

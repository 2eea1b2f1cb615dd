"""Command: calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..handler.settings import Settings
from .app import Aggregation, AsJson, LongText, MaxLength, Precision, Stride, app, extra_installed
from .printing import print_json, quoted, warn
from .tables import print_calibration
from .texts import Column, Data, LabelColumn, LabelSeparator, PairColumn, scoring_bar


@app.command()
def calibrate(
    model_dir: Annotated[Path, typer.Argument(help="A Hugging Face folder.")],
    data: Data,
    method: Annotated[
        str,
        typer.Option(help="temperature, vector; platt or isotonic for independent labels; or all."),
    ] = "temperature",
    target_precision: Annotated[
        float | None,
        typer.Option(help="Answer a label only where it is right so often.", show_default=False),
    ] = None,
    target_coverage: Annotated[
        float | None,
        typer.Option(help="Answer a label for so large a share of texts.", show_default=False),
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(help="f1: of each label that with the greatest F1.", show_default=False),
    ] = None,
    set_coverage: Annotated[
        float, typer.Option(help="How often a prediction set holds the right label.")
    ] = 0.95,
    column: Column = "text",
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    label_separator: LabelSeparator = "|",
    precision: Precision = "auto",
    max_length: MaxLength = None,
    long_text: LongText = "truncate",
    stride: Stride = Settings.stride,
    aggregation: Aggregation = "mean",
    as_json: AsJson = False,
) -> None:
    """Fit calibrated probabilities and levels for decisions, into the folder's calibration.json."""
    with extra_installed("evaluate"):
        from ..quality import Columns, calibration
    settings = Settings(
        precision=precision,
        max_length=max_length,
        long_text=long_text,
        stride=stride,
        aggregation=aggregation,
    )
    with scoring_bar("scoring") as report:
        found = calibration.calibrate(
            model_dir,
            data,
            columns=Columns(column, pair_column, label_column, label_separator),
            method=method,
            target_precision=target_precision,
            target_coverage=target_coverage,
            thresholds=thresholds,
            set_coverage=set_coverage,
            settings=settings,
            report=report,
        )
    origin = found["provenance"]
    if origin["after"]["nll"] > origin["before"]["nll"]:
        warn(
            f"on texts that it did not see this calibration loses ({origin['before']['nll']:.4f} → "
            f"{origin['after']['nll']:.4f} negative log likelihood); give more "
            f"texts, take `--method temperature`, or delete {model_dir / 'calibration.json'}"
        )
    if origin["looks_seen"]:
        warn(
            "the model is right on nearly all of these texts, as on those that it was trained on; if it "
            "was, its confidence here says nothing about other texts: calibrate on texts that it has "
            "not seen"
        )
    if unfitted := origin["unfitted"]:
        warn(
            f"of {len(unfitted)} labels nothing could be learnt, since no text has them, or every one: "
            f"{quoted(unfitted)}; they keep the model's own probabilities"
        )
    if as_json:
        print_json(found)
    else:
        print_calibration(model_dir, found)

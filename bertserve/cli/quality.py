"""Commands: evaluate, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from .. import serving
from ..errors import ConfigError
from ..handler.settings import Settings
from .app import (
    Aggregation,
    AsJson,
    AskedLength,
    AskedLongText,
    ConfigFile,
    LongText,
    MaxLength,
    Precision,
    Stride,
    Uncalibrated,
    app,
    asked,
    err,
    extra_installed,
)
from .printing import print_json, quoted, warn
from .tables import print_calibration, print_evaluation
from .texts import Column, Data, LabelColumn, LabelSeparator, PairColumn, scoring_bar

if TYPE_CHECKING:
    from ..clients import Options
    from ..quality import Columns, Judged, Model


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="A .mar archive, or NAME or NAME@VERSION that is served.")
    ],
    data: Data,
    compare: Annotated[
        str | None, typer.Option(help="Another archive, NAME or NAME@VERSION.", show_default=False)
    ] = None,
    column: Column = "text",
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    label_separator: LabelSeparator = "|",
    version: Annotated[
        str | None, typer.Option(help="Version of a served model.", show_default=False)
    ] = None,
    max_length: AskedLength = None,
    long_text: AskedLongText = None,
    uncalibrated: Uncalibrated = False,
    worst: Annotated[
        int, typer.Option(help="So many texts that the model rates worst are shown.", min=0)
    ] = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a report to this file.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how good the labels and the probabilities of a model are, on labelled texts."""
    with extra_installed("evaluate"):
        from .. import quality
        from ..quality import Columns

        if html:  # what it needs is known to be there before any text is scored
            import_module("..quality.reports", __package__)
    columns = Columns(column, pair_column, label_column, label_separator)
    options = asked(max_length=max_length, long_text=long_text, uncalibrated=uncalibrated)
    models = [find_model(model, version, config, options)]
    if compare:
        models.append(find_model(compare, None, config, options))
        quality.check_apart(*models)
    judged = [_judge(each, data, columns, models[0].labels) for each in models]
    one, other = judged[0], judged[1] if compare else None
    comparison = quality.compare(one, other) if other else None
    texts = quality.worst(one, worst)
    for each in judged:
        if each.fitted_on_these:
            warn(
                f"{each.model.facts['name']} {each.model.facts['version']} was calibrated on these very "
                "texts, so its probabilities look better here than they are; "
                "`bertserve calibrate` estimates them by cross-validation"
            )
        if others := each.fitted_on_others:
            read = ", ".join(f"{name} {value}" for name, value in others.items())
            warn(
                f"{each.model.facts['name']} {each.model.facts['version']} was calibrated on texts that "
                f"were read with {read}, and may be surer or less sure of these; see also --uncalibrated"
            )
    if html:
        from ..quality.reports import report_of, write_html

        write_html(html, report_of(one, other, comparison, texts))
    found = {
        **_as_json(one),
        **({"worst": [asdict(each) for each in texts]} if worst else {}),
        **({"other": _as_json(other)} if other else {}),
        **({"comparison": asdict(comparison)} if comparison else {}),
    }
    if as_json:
        print_json(found)
    else:
        print_evaluation(found)
    if html:
        err.print(f"report: {escape(str(html))}", soft_wrap=True, highlight=False)


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


def find_model(given: str, version: str | None, config: Path | None, options: Options) -> Model:
    """An archive where there is such a file, else NAME or NAME@VERSION of the running server."""
    from ..quality import archived, served

    if given.endswith(".mar") or Path(given).is_file():
        if version:
            raise ConfigError(f"{given} is an archive, of one version; leave --version out")
        return archived(Path(given), **options)
    name, _, of_name = given.partition("@")
    if version and of_name:
        raise ConfigError(f"{given} names a version already; leave --version out")
    return served(serving.find(config), name, version or of_name or None, **options)


def _judge(model: Model, data: Path, columns: Columns, labels: Sequence[str]) -> Judged:
    from ..quality import judge

    with scoring_bar(f"scoring with {model.facts['name']} {model.facts['version']}") as report:
        return judge(model, data, columns, report, labels)


def _as_json(judged: Judged) -> dict[str, Any]:
    """What is known of a model on labelled texts, for programs."""
    facts = {key: value for key, value in judged.model.facts.items() if key != "labels"}
    return {
        "model": facts,
        "data": {
            "source": judged.labelled.source,
            "sha256": judged.labelled.sha256,
            "calibrated_on_it": judged.fitted_on_these,
        },
        **asdict(judged.evaluation),
        "decisions": judged.decisions,
    }

"""Command: score."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..errors import ConfigError
from .app import AsJson, AskedLength, AskedLongText, Uncalibrated, app, err, extra_installed, out
from .printing import print_json, warn
from .tables import print_scored

if TYPE_CHECKING:
    from ..score import Done, Job, Part


@app.command()
def score(
    archive: Annotated[Path, typer.Argument(help="A .mar archive.")],
    data: Annotated[
        str,
        typer.Argument(
            help="A file, a folder or a glob of .parquet, .csv, .tsv, .jsonl; or an URI."
        ),
    ],
    to: Annotated[str, typer.Option(help="Folder of the results; or an URI.")],
    column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    pair_column: Annotated[
        str | None, typer.Option(help="Column of the second texts of pairs.", show_default=False)
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Columns to keep beside the results: id,date.", show_default=False),
    ] = None,
    output: Annotated[str, typer.Option(help="parquet, jsonl or csv.")] = "parquet",
    wide: Annotated[bool, typer.Option("--wide", help="A column for each label.")] = False,
    max_length: AskedLength = None,
    long_text: AskedLongText = None,
    uncalibrated: Uncalibrated = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that compute; by default one a GPU, or what suits the CPUs.",
            show_default=False,
            min=1,
        ),
    ] = None,
    shard: Annotated[
        str, typer.Option(help="Do the 2nd of 8 shards: 2/8.", show_default=False)
    ] = "1/1",
    ray: Annotated[
        str | None,
        typer.Option(
            help="Do it on a Ray cluster: auto, its address, or local.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how long it takes, by a sample; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score whole tables by an archive, without a server; run again it does what is missing."""
    with extra_installed("score"):
        from .. import score as scoring
    kept = tuple(dict.fromkeys(name for names in csv.reader(keep or []) for name in names))
    options = scoring.Options(max_length, long_text, calibrated=not uncalibrated)
    of = _shard(shard)
    with _nothing_written(dry_run, to) as folder, err.status("looking what there is"):
        job = scoring.Job.begin(
            archive,
            data,
            folder,
            scoring.Columns(column, pair_column, kept),
            form=output,
            wide=wide,
            options=options,
        )
        missing = job.missing(of)
    for problem in job.unreadable:
        warn(problem)
    if job.source.left_out:
        warn(f"{job.source.left_out} files are left out: they are of no kind that can be scored")
    if dry_run:
        _estimate(job, missing, workers, as_json)
        return
    if ray is not None:
        with extra_installed("ray"):
            running = scoring.run_on_ray(job, missing, ray, workers)
    else:
        running = scoring.run_here(job, missing, workers)
    problems = [*job.unreadable, *_followed(running, missing, shown=ray is None)]
    found = job.summary()
    calibrated_on = job.scorer.shape.calibrated_on
    if as_json:
        print_json(
            {
                "to": to,
                "rows": found.rows,
                "failed": found.failed,
                "errors": found.errors,
                "undecided": found.undecided,
                "truncated": found.truncated,
                "labels": found.labels,
                "probability": found.quantiles,
                "calibrated_on": calibrated_on,
                "unreadable": problems,
                "complete": not problems and not job.missing(),
            }
        )
    else:
        print_scored(found, calibrated_on)
    if problems or found.failed or job.missing(of):
        raise typer.Exit(1)


def _shard(given: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", given)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise ConfigError(f"--shard {given} is none: give 1/8 to 8/8 to do it in eight")
    return number, count


@contextmanager
def _nothing_written(dry_run: bool, to: str) -> Iterator[str]:
    """Where the job looks for what was done."""
    from ..score import Folder
    from ..system import scratch_folder

    if not dry_run or Folder.has_results(to):
        yield to
        return
    with scratch_folder("score") as scratch:
        yield str(scratch / "results")


def _followed(running: Iterator[Done], missing: list[Part], *, shown: bool) -> list[str]:
    """Show how far it is until it is done; what could not be read, or done. Ray shows its own."""
    problems = []
    columns = (
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} texts/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not (shown and err.is_terminal)) as bar:
        total = sum(part.rows for part in missing)
        task = bar.add_task("scoring", total=total, rate="–")
        for done in running:
            if done.problem:
                problems.append(done.problem)
                warn(done.problem)
            bar.update(task, advance=done.part.rows)
            speed = bar.tasks[task].speed
            bar.update(task, rate=f"{speed:,.0f}" if speed else "–")
    return problems


def _estimate(job: Job, missing: list[Part], workers: int | None, as_json: bool) -> None:
    from ..score import measure

    with err.status("measuring"):
        rate = measure(job, workers)
    rows = sum(part.rows for part in missing)
    seconds = rows / rate
    machines = math.ceil(seconds / 3600)
    if as_json:
        print_json(
            {
                "rows": rows,
                "rows_per_second": round(rate, 1),
                "seconds": round(seconds),
                "machines_for_an_hour": machines,
            }
        )
        return
    hours, rest = divmod(round(seconds), 3600)
    took = f"{hours:,} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"
    out.print(
        f"{rows:,} texts at {rate:,.0f} a second: {took} on this machine; "
        f"{machines:,} such machines do it within an hour",
        highlight=False,
    )

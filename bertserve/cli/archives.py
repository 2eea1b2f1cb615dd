"""Commands: package, inspect, fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .. import archives
from ..handler.settings import Settings
from .app import (
    Aggregation,
    AsJson,
    LongText,
    MaxLength,
    Precision,
    Stride,
    app,
    extra_installed,
    out,
)
from .printing import calibration_line, print_json, progress_line
from .texts import texts_of


@app.command()
def package(
    model_dir: Annotated[Path, typer.Argument(help="A Hugging Face folder.")],
    name: Annotated[str, typer.Option(help="Name that the model is served under.")],
    version: Annotated[str, typer.Option(help="Its version, 1.0 say.")],
    output: Annotated[Path, typer.Option(help="Folder of the archive.")] = Path("model_store"),
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve it; by default what suits the machine.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Requests that share a batch.")
    ] = archives.BATCH_SIZE,
    max_batch_delay: Annotated[
        int, typer.Option(help="Milliseconds that a request waits for others.")
    ] = archives.MAX_BATCH_DELAY,
    precision: Precision = "auto",
    texts: Annotated[
        Path | None,
        typer.Option(help="Texts to compare the precision with float32 on.", show_default=False),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Every text has a second one: a text alone is an error.")
    ] = False,
    max_length: MaxLength = None,
    long_text: LongText = "truncate",
    stride: Stride = Settings.stride,
    aggregation: Aggregation = "mean",
    max_texts: Annotated[int, typer.Option(help="Texts in one request.")] = 128,
    max_characters: Annotated[int, typer.Option(help="Characters in one text.")] = 100_000,
    max_depth: Annotated[int, typer.Option(help="Nesting of a JSON body.")] = 16,
    token_budget: Annotated[
        int | None, typer.Option(help="Tokens in one micro-batch; what is fastest by default.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of a CPU worker; cores / workers by default.")
    ] = None,
    buffered_reader: Annotated[
        bool, typer.Option(help="Read TorchServe's messages in large pieces.")
    ] = True,
    convert_weights: Annotated[
        bool, typer.Option(help="Make safetensors of weights that are only a pickle.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace a different archive of that name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build NAME-VERSION.mar from a Hugging Face folder."""
    settings = Settings(
        precision=precision,
        pairs=pairs,
        max_length=max_length,
        long_text=long_text,
        stride=stride,
        aggregation=aggregation,
        token_budget=token_budget,
        max_texts=max_texts,
        max_characters=max_characters,
        max_depth=max_depth,
        threads=threads,
        buffered_reader=buffered_reader,
    )
    convert_weights = convert_weights or _offer_conversion(model_dir)
    with progress_line() as steps:
        task = steps.add_task("")
        built = archives.package(
            model_dir,
            name=name,
            version=version,
            output=output,
            workers=workers,
            batch_size=batch_size,
            max_batch_delay=max_batch_delay,
            settings=settings,
            texts=texts_of(texts),
            convert_weights=convert_weights,
            force=force,
            report=lambda step: steps.update(task, description=step),
        )
    found = archives.inspect(built)
    if as_json:
        keys = ("archive", "sha256", "against_float32", "kernels")
        print_json({key: found[key] for key in keys})
        return
    out.print(
        f"[green]built[/] {escape(str(built))}  ({built.stat().st_size / 1e6:.1f} MB)",
        soft_wrap=True,
    )
    out.print(f"precision: {escape(_precision(found))}", highlight=False, soft_wrap=True)


@app.command()
def inspect(
    archive: Annotated[Path, typer.Argument(help="A .mar archive.")],
    files: Annotated[bool, typer.Option("--files", help="List its files too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what an archive holds: labels, precision, calibration, checksums."""
    found = archives.inspect(archive)
    if as_json:
        print_json(found)
        return
    facts = Table(show_header=False, box=None)
    for key in ("name", "version", "architecture", "problem_type", "activation"):
        facts.add_row(key.replace("_", " "), escape(found[key]))
    facts.add_row("precision", escape(_precision(found)))
    facts.add_row("kernels", escape(", ".join(found["kernels"])) or "none")
    facts.add_row("calibration", escape(calibration_line(found["calibration"])))
    facts.add_row("labels", f"{len(found['labels'])}: {escape(', '.join(found['labels']))}")
    facts.add_row(
        "workers",
        f"{found['workers']}, batches of {found['batch_size']}, "
        f"waiting {found['max_batch_delay']} ms",
    )
    facts.add_row(
        "settings", ", ".join(f"{k}={v}" for k, v in found["settings"].items()) or "usual"
    )
    facts.add_row("sha256", found["sha256"])
    size = f"{len(found['files'])}, {found['bytes'] / 1e6:.1f} MB"
    facts.add_row("files", size + ("" if files else "; --files lists them"))
    facts.add_row("intact", "[green]yes[/]" if found["intact"] else "[red]no: build it again[/]")
    out.print(facts)
    if files:
        table = Table("file", "bytes", "sha256", box=None)
        for file in found["files"]:
            table.add_row(escape(file["path"]), f"{file['bytes']:,}", file["sha256"][:16])
        out.print(table)
    if not found["intact"]:
        raise typer.Exit(1)


@app.command()
def fetch(
    uri: Annotated[
        str, typer.Argument(help="Where the archive is: s3://, gs://, https:// and the like.")
    ],
    sha256: Annotated[str, typer.Option(help="SHA-256 that it must have, in hexadecimal.")],
    to: Annotated[Path, typer.Option(help="Folder of the archive.")] = Path("model_store"),
    as_json: AsJson = False,
) -> None:
    """Fetch an archive from object storage or a web server, and check that it is the right one."""
    with progress_line() as steps, extra_installed("score"):
        steps.add_task("fetching")
        archive = archives.fetch(uri, sha256, to)
    if as_json:
        print_json({"archive": str(archive), "sha256": sha256.lower()})
        return
    size = archive.stat().st_size / 1e6
    out.print(f"[green]fetched[/] {escape(str(archive))}  ({size:.1f} MB)", soft_wrap=True)


def _precision(found: dict[str, Any]) -> str:
    """The precision of an archive, and what it changes."""
    measured = found["against_float32"]
    if measured is None:
        return str(found["precision"])
    if measured["precision"] == "float32":
        return f"{found['precision']}, here float32"
    failed = (
        f", and {measured['failed']} cannot be classified any more" if measured["failed"] else ""
    )
    return (
        f"{found['precision']}, here {measured['precision']}: against float32 on {measured['texts']} "
        f"texts ({measured['sample']}) {measured['labels_changed']:.2%} of labels change, probabilities "
        f"move by {measured['largest_shift']:.2g} at most, {measured['mean_shift']:.2g} on average"
        f"{failed}"
    )


def _offer_conversion(model_dir: Path) -> bool:
    """Ask whether pickled weights shall be converted, where there is somebody to answer."""
    if not (sys.stdin.isatty() and out.is_terminal) or any(model_dir.glob("model*.safetensors")):
        return False
    if not any(model_dir.glob("pytorch_model*.bin")):
        return False
    return typer.confirm("The weights are only there as a pickle. Make safetensors of them?")

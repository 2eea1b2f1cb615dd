"""The commands: they parse, call the module that does the work, and print."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import archive as archives
from . import server as servers
from .client import Client, Prediction
from .config import read_config, usual_config
from .errors import BertserveError, ConfigError, NotRunning, TextError
from .handler.errors import LoadError
from .handler.settings import Settings

app = typer.Typer(
    help="A fine-tuned BERT-family classifier behind TorchServe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="The server's config.properties.", show_default=False),
]

_BAR = 20


@app.command()
def package(
    model_dir: Annotated[Path, typer.Argument(help="A Hugging Face folder.")],
    name: Annotated[str, typer.Option(help="Name that the model is served under.")],
    version: Annotated[str, typer.Option(help="Its version, 1.0 say.")],
    output: Annotated[Path, typer.Option(help="Folder of the archive.")] = Path("model_store"),
    workers: Annotated[int, typer.Option(help="Processes that serve it.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Requests that share a batch.")] = 32,
    max_batch_delay: Annotated[
        int, typer.Option(help="Milliseconds that a request waits for others.")
    ] = 3,
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    max_length: Annotated[
        int | None, typer.Option(help="Longest input in tokens; the model's own by default.")
    ] = None,
    max_texts: Annotated[int, typer.Option(help="Texts in one request.")] = 128,
    max_characters: Annotated[int, typer.Option(help="Characters in one text.")] = 100_000,
    max_depth: Annotated[int, typer.Option(help="Nesting of a JSON body.")] = 16,
    token_budget: Annotated[
        int | None, typer.Option(help="Tokens in one micro-batch; by device by default.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of a CPU worker; cores / workers by default.")
    ] = None,
    convert_weights: Annotated[
        bool, typer.Option(help="Make safetensors of weights that are only a pickle.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace a different archive of that name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build NAME-VERSION.mar from a Hugging Face folder."""
    settings = Settings(
        precision=precision,
        max_length=max_length,
        token_budget=token_budget,
        max_texts=max_texts,
        max_characters=max_characters,
        max_depth=max_depth,
        threads=threads,
    )
    convert_weights = convert_weights or _offer_conversion(model_dir)
    with _steps() as steps:
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
            convert_weights=convert_weights,
            force=force,
            report=lambda step: steps.update(task, description=step),
        )
    if as_json:
        _print_json({"archive": str(built), "sha256": archives.inspect(built)["sha256"]})
    else:
        out.print(f"[green]built[/] {built}  ({built.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)


@app.command()
def inspect(
    archive: Annotated[Path, typer.Argument(help="A .mar archive.")], as_json: AsJson = False
) -> None:
    """Show what an archive holds: labels, precision, calibration, checksums."""
    found = archives.inspect(archive)
    if as_json:
        _print_json(found)
        return
    facts = Table(show_header=False, box=None)
    for key in ("name", "version", "architecture", "problem_type", "activation", "precision"):
        facts.add_row(key.replace("_", " "), escape(found[key]))
    facts.add_row("calibration", found["calibration"]["method"])
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
    facts.add_row("intact", "[green]yes[/]" if found["intact"] else "[red]no: build it again[/]")
    out.print(facts)
    files = Table("file", "bytes", "sha256", box=None)
    for file in found["files"]:
        files.add_row(file["path"], f"{file['bytes']:,}", file["sha256"][:16])
    out.print(files)
    if not found["intact"]:
        raise typer.Exit(1)


@app.command()
def serve(
    config: ConfigFile = None,
    model_store: Annotated[
        Path | None,
        typer.Option(help="Folder of the archives; ./model_store by default.", show_default=False),
    ] = None,
    foreground: Annotated[bool, typer.Option(help="Stay, and pass signals on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start TorchServe with every archive of the model store, and wait until it is ready."""
    with _steps() as steps:
        task = steps.add_task("starting TorchServe")

        def show(models: Iterable[dict[str, Any]]) -> None:
            ready = [f"{m['name']} {m['version']} {m['ready']}/{m['wanted']}" for m in models]
            steps.update(task, description=f"workers ready: {', '.join(ready)}")

        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # as Ctrl-C: leave nothing running
        server = servers.start(read_config(config or usual_config()), model_store, show)
    if foreground:
        servers.pass_signals_on(server)
    _print_status(server.status(), as_json)
    if foreground:
        server.wait()
        server.stop()


@app.command()
def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the running server: addresses, key file, logs, models."""
    try:
        found = servers.find(config).status()
    except NotRunning:
        if not as_json:
            raise
        found = {"running": False}
    _print_status(found, as_json)
    if not found["running"]:
        raise typer.Exit(1)


@app.command()
def stop(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """End the running server and its workers."""
    server = servers.find(config)
    with _steps() as steps:
        steps.add_task("stopping TorchServe")
        server.stop()
    if as_json:
        _print_json({"stopped": server.pid})
    else:
        out.print("stopped")


@app.command()
def predict(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; - reads them from standard input.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Texts from a file, one a line.", show_default=False)
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version; the default one if not given.", show_default=False)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Most probable labels only.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Classify texts: a table on a terminal, JSON in a pipe."""
    server = servers.find(config)
    inputs = _texts(texts or [], file)
    with Client(
        name,
        url=server.addresses.inference,
        version=version,
        key=lambda: server.key("inference"),
    ) as client:
        results = list(client.classify_each(inputs, top_k=top_k))
    if as_json or not out.is_terminal:
        _print_json([_result(text, result) for text, result in zip(inputs, results, strict=True)])
    else:
        _print_predictions(inputs, results, top_k or 3)
    if any(isinstance(result, TextError) for result in results):
        raise typer.Exit(1)


def main() -> None:
    """Run a command; what the caller can mend is one sentence, not a traceback."""
    try:
        app(standalone_mode=True)
    except (BertserveError, LoadError, OSError) as error:  # a full disk or a locked folder too
        err.print(f"[red]Error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)


def _offer_conversion(model_dir: Path) -> bool:
    """Ask whether pickled weights shall be converted, where there is somebody to answer."""
    if not (sys.stdin.isatty() and out.is_terminal) or any(model_dir.glob("model*.safetensors")):
        return False
    if not any(model_dir.glob("pytorch_model*.bin")):
        return False
    return typer.confirm("The weights are only there as a pickle. Make safetensors of them?")


def _texts(texts: list[str], file: Path | None) -> list[str]:
    """The texts of the arguments, of standard input where one of them is -, and of a file."""
    found: list[str] = []
    for text in texts:
        found.extend(_lines(sys.stdin) if text == "-" else [text])
    if file is not None:
        try:
            with file.open(encoding="utf-8") as lines:
                found.extend(_lines(lines))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read as UTF-8 text: {error}") from error
    if any(not text.isprintable() and _has_surrogates(text) for text in found):
        raise ConfigError("the texts are not UTF-8; convert them first")
    if not found:
        raise ConfigError(
            'there is no text; give one as an argument: bertserve predict NAME "text"'
        )
    return found


def _has_surrogates(text: str) -> bool:
    """Whether Python stood in for bytes that are not UTF-8."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _lines(source: Iterable[str]) -> Iterator[str]:
    return (line.rstrip("\n") for line in source if line.strip())


def _result(text: str, result: Prediction | TextError) -> dict[str, Any]:
    if isinstance(result, TextError):
        return {"text": text, "error": {"code": result.code, "message": result.message}}
    return {
        "text": text,
        "label": result.label,
        "probability": result.probability,
        "probabilities": dict(result.probabilities),
    }


def _print_predictions(texts: list[str], results: list[Prediction | TextError], rows: int) -> None:
    table = Table("text", "label", "", "probability", box=None, pad_edge=False)
    for text, result in zip(texts, results, strict=True):
        shown = escape(text if len(text) <= 60 else text[:59] + "…")
        if isinstance(result, TextError):
            table.add_row(shown, f"[red]{escape(result.message)}[/]", "", "")
            continue
        for label, probability in list(result.probabilities.items())[:rows]:
            bar = "█" * max(1, round(probability * _BAR))
            table.add_row(shown, escape(label), f"[cyan]{bar}[/]", f"{probability:.4f}")
            shown = ""
    out.print(table)


def _print_status(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(found)
        return
    facts = Table(show_header=False, box=None)
    for key, value in found.items():
        if key not in ("running", "models"):
            facts.add_row(key.replace("_", " "), escape(str(value)))
    out.print(facts)
    models = Table("model", "version", "default", "state", "workers", box=None)
    for model in found["models"]:
        ready = sum(worker["status"] == "READY" for worker in model["workers"])
        models.add_row(
            model["name"],
            model["version"],
            "✓" if model["default"] else "",
            model["state"],
            f"{ready}/{len(model['workers'])}",
        )
    out.print(models)


def _steps() -> Progress:
    """A line that says what goes on, on a terminal; nothing in a pipe."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")

"""The commands: they parse, call the module that does the work, and print."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from enum import Enum
from itertools import chain, islice, tee, zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import archive as archives
from . import rollout as rollouts
from . import server as servers
from .config import read_config, usual_config
from .errors import BertserveError, ConfigError, NotRunning, TextError
from .files import read_texts, write_csv, write_json, write_jsonl
from .handler.errors import LoadError
from .handler.settings import Settings
from .results import Input, Model, Pair, Prediction
from .rollout import Limits
from .versions import Versions

app = typer.Typer(
    help="A fine-tuned BERT-family classifier behind TorchServe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="The versions that a running server serves.", no_args_is_help=True)
app.add_typer(models, name="models")
out = Console()
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="The server's config.properties.", show_default=False),
]
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[str, typer.Argument(help="Version of the model.")]

_BAR = 20
_SCREENFUL = 64


class Output(str, Enum):
    """How results are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


WRITERS = {Output.json: write_json, Output.jsonl: write_jsonl, Output.csv: write_csv}


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
    precision: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16 or int8.")
    ] = "auto",
    texts: Annotated[
        Path | None,
        typer.Option(help="Texts to compare the precision with float32 on.", show_default=False),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Longest input in tokens; the model's own by default.")
    ] = None,
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
        max_length=max_length,
        token_budget=token_budget,
        max_texts=max_texts,
        max_characters=max_characters,
        max_depth=max_depth,
        threads=threads,
        buffered_reader=buffered_reader,
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
            texts=_plain_texts(texts),
            convert_weights=convert_weights,
            force=force,
            report=lambda step: steps.update(task, description=step),
        )
    found = archives.inspect(built)
    if as_json:
        keys = ("archive", "sha256", "against_float32", "kernels")
        _print_json({key: found[key] for key in keys})
        return
    out.print(f"[green]built[/] {built}  ({built.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)
    out.print(f"precision: {_precision(found)}", highlight=False, soft_wrap=True)


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
    for key in ("name", "version", "architecture", "problem_type", "activation"):
        facts.add_row(key.replace("_", " "), escape(found[key]))
    facts.add_row("precision", _precision(found))
    facts.add_row("kernels", ", ".join(found["kernels"]) or "none")
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

        def show(models: Sequence[Model]) -> None:
            ready = [f"{m.name} {m.version} {m.ready}/{m.wanted}" for m in models]
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
        _texts(texts or [], pair or [], file, column, pair_column) as inputs,
    ):
        sent, shown = tee(inputs)
        results = client.classify_each(sent, top_k=top_k, details=details)

        def counted() -> Iterator[tuple[Input, Prediction | TextError]]:
            nonlocal failed
            for text, result in zip(shown, results, strict=True):
                failed += isinstance(result, TextError)
                yield text, result

        if shape is Output.table:
            _print_predictions(counted(), top_k or 3)
        else:
            WRITERS[shape](counted(), sys.stdout)
    if failed:
        raise typer.Exit(1)


@app.command()
def rollout(
    archive: Annotated[Path, typer.Argument(help="The next version, a .mar archive.")],
    texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts to compare both versions on; our own if not given.", show_default=False
        ),
    ] = None,
    labels_changed: Annotated[
        float, typer.Option(help="Share of the texts that may get another label.", min=0, max=1)
    ] = Limits.labels_changed,
    slowdown: Annotated[
        float, typer.Option(help="How many times as long a request may take.", min=0)
    ] = Limits.slowdown,
    watch: Annotated[
        float, typer.Option(help="Seconds without an error before it is trusted.", min=0)
    ] = 60.0,
    retire: Annotated[bool, typer.Option(help="Take the former version away.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an archive the default version of its model, or leave everything as it was."""
    server = servers.find(config)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: put everything back
    with _steps() as steps:
        task = steps.add_task("reading the archive")
        outcome = rollouts.rollout(
            server,
            archive,
            texts=_plain_texts(texts) or (),
            limits=Limits(labels_changed, slowdown),
            watch=watch,
            retire=retire,
            report=lambda step: steps.update(task, description=step),
        )
    if as_json:
        _print_json(asdict(outcome))
        return
    out.print(f"[green]{escape(outcome.name)} {escape(outcome.version)} is the default version[/]")
    if found := outcome.comparison:
        out.print(
            f"beside {escape(str(outcome.former))}, on {found.texts} texts: "
            f"{found.labels_changed:.1%} of labels change, probabilities move by "
            f"{found.largest_shift:.2g} at most, {found.mean_shift:.2g} on average; a request takes "
            f"{found.seconds * 1000:.0f} ms, before {found.seconds_before * 1000:.0f} ms",
            highlight=False,
        )
    if outcome.former:
        left = (
            "is served no more"
            if outcome.retired
            else "stays with one worker, for `bertserve rollback`"
        )
        out.print(f"{escape(outcome.former)} {left}")


@app.command()
def rollback(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Make the version that was the default before the default again."""
    with _steps() as steps:
        task = steps.add_task("")
        model = rollouts.rollback(
            servers.find(config), name, lambda step: steps.update(task, description=step)
        )
    _print_change(model, as_json)


@models.command("list")
def list_models(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every version of every model: workers, queue, memory, the default one."""
    versions = Versions(servers.find(config))
    found = [{**_model(model), "memory": versions.memory(model)} for model in versions.all()]
    if as_json:
        _print_json(found)
        return
    table = Table("model", "version", "default", "state", "workers", "waiting", "memory", box=None)
    for model in found:
        table.add_row(
            model["name"],
            model["version"],
            "✓" if model["default"] else "",
            model["state"],
            f"{model['ready']}/{model['wanted']}",
            f"{model['pending']}/{model['queue']}",
            f"{model['memory'] / 1e6:.0f} MB",
        )
    out.print(table)


@models.command()
def describe(
    name: Name,
    version: Annotated[str | None, typer.Argument()] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One version of a model, as its workers describe it."""
    server = servers.find(config)
    model = Versions(server).one(name, version)
    with server.client(name, version=model.version) as client:
        found = {**_model(model), **asdict(client.describe())}
    if as_json:
        _print_json(found)
        return
    facts = Table(show_header=False, box=None)
    for key, value in found.items():
        shown = ", ".join(value) if key == "labels" else value
        if not isinstance(shown, dict):
            facts.add_row(key.replace("_", " "), escape(str(shown)))
    out.print(facts)


@models.command()
def register(
    archive: Annotated[
        Path, typer.Argument(help="A .mar archive; it is copied to the model store.")
    ],
    workers: Annotated[
        int | None, typer.Option(help="Processes; the archive's own number by default.", min=1)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve one more version, beside those that are served."""
    with _steps() as steps:
        steps.add_task(f"loading {archive.name}")
        model = Versions(servers.find(config)).register(archive, workers)
    _print_change(model, as_json)


@models.command()
def scale(
    name: Name,
    workers: Annotated[int, typer.Argument(help="Processes.")],
    version: Annotated[
        str | None, typer.Option(help="Version; the default one if not given.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Have so many workers."""
    with _steps() as steps:
        steps.add_task("waiting for the workers")
        model = Versions(servers.find(config)).scale(name, version, workers)
    _print_change(model, as_json)


@models.command("set-default")
def set_default(
    name: Name, version: Version, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Answer requests that name no version with this one."""
    versions = Versions(servers.find(config))
    versions.set_default(name, version)
    _print_change(versions.one(name, version), as_json)


@models.command()
def unregister(
    name: Name, version: Version, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Serve a version no more, and move its archive to retired/ in the model store."""
    Versions(servers.find(config)).unregister(name, version)
    if as_json:
        _print_json({"unregistered": {"name": name, "version": version}})
    else:
        out.print(f"{escape(name)} {escape(version)} is served no more")


def main() -> None:
    """Run a command; what the caller can mend is one sentence, not a traceback."""
    try:
        app(standalone_mode=True)
    except BrokenPipeError:  # who reads the results has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (BertserveError, LoadError, OSError) as error:  # a full disk or a locked folder too
        err.print(f"[red]Error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)


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


def _plain_texts(path: Path | None) -> list[str] | None:
    """The texts of a file without second texts; None where no file is given."""
    if path is None:
        return None
    with _opened(path) as lines:
        found = list(_whole(read_texts(lines, path.name.lower())))
    if not found:
        raise ConfigError(f"{path} holds no texts; give a file with some")
    return [text if isinstance(text, str) else f"{text.text} {text.text_pair}" for text in found]


def _offer_conversion(model_dir: Path) -> bool:
    """Ask whether pickled weights shall be converted, where there is somebody to answer."""
    if not (sys.stdin.isatty() and out.is_terminal) or any(model_dir.glob("model*.safetensors")):
        return False
    if not any(model_dir.glob("pytorch_model*.bin")):
        return False
    return typer.confirm("The weights are only there as a pickle. Make safetensors of them?")


@contextmanager
def _texts(
    texts: list[str],
    pairs: list[str],
    file: Path | None,
    column: str | None,
    pair_column: str | None,
) -> Iterator[Iterator[Input]]:
    """The texts of the arguments, of standard input where one of them is -, and of a file."""
    if pairs and len(pairs) != len(texts):
        raise ConfigError(
            f"there are {len(texts)} texts and {len(pairs)} --pair; give one for each"
        )
    with ExitStack() as stack:
        sources: list[Iterable[Input]] = [
            _from_argument(text) if not pairs else [Pair(text, second)]
            for text, second in zip_longest(texts, pairs, fillvalue="")
        ]
        if file is not None:
            lines = stack.enter_context(_opened(file))
            sources.append(read_texts(lines, file.name.lower(), column, pair_column))
        elif column or pair_column:
            raise ConfigError("--column and --pair-column need --file; give it too")
        found = chain.from_iterable(sources)
        first = next(found, None)
        if first is None:
            raise ConfigError(
                'there is no text; give one as an argument: bertserve predict NAME "text"'
            )
        yield _whole(chain([first], found))


def _from_argument(text: str) -> Iterable[Input]:
    return read_texts(sys.stdin, "standard input") if text == "-" else [text]


@contextmanager
def _opened(file: Path) -> Iterator[Iterable[str]]:
    """The lines of a file; a bar shows how much was read where results do not go to the terminal."""
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    shown = err.is_terminal and not out.is_terminal  # else it would write over the results
    with Progress(*columns, console=err, transient=True, disable=not shown) as bar:
        try:
            lines = bar.open(file, "r", encoding="utf-8", newline="", description="classifying")
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
        with lines:
            yield lines


def _whole(texts: Iterable[Input]) -> Iterator[Input]:
    """Stop at texts in which Python stood in for bytes that are not UTF-8."""
    for text in texts:
        both = text if isinstance(text, str) else text.text + text.text_pair
        if any("\ud800" <= character <= "\udfff" for character in both):
            raise ConfigError("the texts are not UTF-8; convert them first")
        yield text


def _print_predictions(results: Iterable[tuple[Input, Prediction | TextError]], rows: int) -> None:
    """A table a screenful, so that the first results show while others are computed."""
    while screenful := list(islice(results, _SCREENFUL)):
        table = Table("text", "label", "", "probability", box=None, pad_edge=False)
        for text, result in screenful:
            whole = text if isinstance(text, str) else f"{text.text} ¦ {text.text_pair}"
            shown = escape(whole if len(whole) <= 60 else whole[:59] + "…")
            if isinstance(result, TextError):
                table.add_row(shown, f"[red]{escape(result.message)}[/]", "", "")
                continue
            for label, probability in list(result.probabilities.items())[:rows]:
                bar = "█" * max(1, round(probability * _BAR))
                table.add_row(shown, escape(label), f"[cyan]{bar}[/]", f"{probability:.4f}")
                shown = ""
            if result.tokens is not None:
                cut = ", cut" if result.truncated else ""
                note = f"{result.model} {result.version}, {result.tokens} tokens{cut}"
                table.add_row("", f"[dim]{escape(note)}[/]", "", "")
        out.print(table)


def _model(model: Model) -> dict[str, Any]:
    """One version, for programs."""
    return {**asdict(model), "ready": model.ready, "state": model.state}


def _print_change(model: Model, as_json: bool) -> None:
    """A version after it was changed."""
    if as_json:
        _print_json(_model(model))
        return
    default = ", the default version" if model.default else ""
    out.print(
        f"{escape(model.name)} {escape(model.version)}: {model.ready}/{model.wanted} workers "
        f"ready{default}"
    )


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

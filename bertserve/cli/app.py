"""The program, its two consoles, and arguments that several commands have."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ..clients import Options
from ..errors import BertserveError, ConfigError
from ..handler.errors import LoadError
from ..system import sentence
from .terminal import ShownConsole

app = typer.Typer(
    help="A fine-tuned BERT-family classifier behind TorchServe.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"bertserve {version_of('bertserve')}", highlight=False)
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """A fine-tuned BERT-family classifier behind TorchServe."""


models = typer.Typer(help="The versions that a running server serves.", no_args_is_help=True)
app.add_typer(models, name="models")
out = ShownConsole(emoji=False)
err = ShownConsole(stderr=True, emoji=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="The server's config.properties.", show_default=False),
]
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[str, typer.Argument(help="Version of the model.")]

# how a model is packaged, and calibrated
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16 or int8.")]
MaxLength = Annotated[
    int | None, typer.Option(help="Longest input in tokens; the model's own by default.")
]
LongText = Annotated[
    str, typer.Option(help="What happens to a longer text: truncate, error or chunks.")
]
Stride = Annotated[int, typer.Option(help="Tokens by which chunks overlap.")]
Aggregation = Annotated[
    str, typer.Option(help="Logits of a text from its chunks: mean, or max of each label.")
]

# how texts are read and answered, where that is not as packaged
AskedLength = Annotated[
    int | None,
    typer.Option(
        "--max-length", help="Tokens to read; as packaged if not given.", show_default=False
    ),
]
AskedLongText = Annotated[
    str | None,
    typer.Option(
        "--long-text",
        help="What happens to a longer text: truncate, error or chunks; as packaged if not given.",
        show_default=False,
    ),
]
Uncalibrated = Annotated[
    bool, typer.Option("--uncalibrated", help="The model's own probabilities, not calibrated.")
]


def asked(*, max_length: int | None, long_text: str | None, uncalibrated: bool) -> Options:
    """Options of texts as clients take them: those alone that are given, for older archives' sake."""
    options: Options = {}
    if max_length is not None:
        options["max_length"] = max_length
    if long_text is not None:
        options["long_text"] = long_text
    if uncalibrated:
        options["calibrated"] = False
    return options


@contextmanager
def extra_installed(extra: str) -> Iterator[None]:
    """ConfigError where a library of an extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("bertserve"):  # our own mistake
            raise
        raise ConfigError(
            f"this needs {error.name}; install it with `pip install 'bertserve[{extra}]'`"
        ) from error


def main() -> None:
    """Run a command; what the caller can mend is one sentence, not a traceback."""
    for stream in (sys.stdout, sys.stderr):  # whatever the locale: files are UTF-8 as well
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except BrokenPipeError:  # who reads the results has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (BertserveError, LoadError, OSError) as error:  # a full disk or a locked folder too
        said = sentence(error) if isinstance(error, OSError) else str(error)
        err.print(f"[red]Error:[/] {escape(said)}", soft_wrap=True, highlight=False)
        sys.exit(1)

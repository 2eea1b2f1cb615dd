"""Where the texts of a command come from: arguments, standard input, files; and labelled ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, zip_longest
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from ..clients import Row, read_rows, read_texts, row_of
from ..errors import ConfigError
from ..inputs import Input, Pair
from .app import err, out

Data = Annotated[Path, typer.Option(help="Labelled texts: .csv, .tsv, .jsonl or .parquet.")]
Column = Annotated[str, typer.Option(help="Column of the texts.")]
PairColumn = Annotated[
    str | None, typer.Option(help="Column of the second texts of pairs.", show_default=False)
]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="Column of the labels; label, category or the like.", show_default=False),
]
LabelSeparator = Annotated[str, typer.Option(help="What stands between several labels of a text.")]


def texts_of(path: Path | None) -> list[Input] | None:
    """The texts of a file; None where no file is given."""
    if path is None:
        return None
    with _opened(path) as lines:
        found = list(_whole(read_texts(lines, path.name.lower())))
    if not found:
        raise ConfigError(f"{path} holds no texts; give a file with some")
    return found


@contextmanager
def given_rows(
    texts: list[str],
    pairs: list[str],
    file: Path | None,
    column: str | None,
    pair_column: str | None,
    keep: list[str],
) -> Iterator[Iterator[Row]]:
    """The texts of the arguments, of standard input where one of them is -, and of a file."""
    if pairs and len(pairs) != len(texts):
        raise ConfigError(
            f"there are {len(texts)} texts and {len(pairs)} --pair; give one for each"
        )
    with ExitStack() as stack:
        sources: list[Iterable[Row]] = [
            _from_argument(text) if not pairs else [row_of(Pair(text, second))]
            for text, second in zip_longest(texts, pairs, fillvalue="")
        ]
        if file is not None:
            lines = stack.enter_context(_opened(file))
            sources.append(read_rows(lines, file.name.lower(), column, pair_column, keep))
        elif column or pair_column or keep:
            raise ConfigError("--column, --pair-column and --keep need --file; give it too")
        found = chain.from_iterable(sources)
        first = next(found, None)
        if first is None:
            raise ConfigError(
                'there is no text; give one as an argument: bertserve predict NAME "text"'
            )
        yield _whole_rows(chain([first], found))


def _from_argument(text: str) -> Iterable[Row]:
    return read_rows(sys.stdin, "standard input") if text == "-" else [row_of(text)]


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
    for text in texts:
        _check_whole(text if isinstance(text, str) else text.text + text.text_pair)
        yield text


def _whole_rows(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        for each in (*row.shown.values(), *row.kept.values()):
            _check_whole(each if isinstance(each, str) else "")
        yield row


def _check_whole(text: str) -> None:
    """Stop at a text in which Python stood in for bytes that are not UTF-8."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError("the texts are not UTF-8; convert them first")


@contextmanager
def scoring_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """How many texts are scored, on a terminal."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""What commands with labelled texts share: where these stand, and a bar while they are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from .program import err

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


@contextmanager
def scoring_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """How many texts are scored, on a terminal."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

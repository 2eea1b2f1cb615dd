"""How results look on a terminal, and for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..clients import Model, Prediction, Row
from ..errors import TextError
from .app import err, out
from .terminal import as_json

_BAR = 20
_SCREENFUL = 64


def print_predictions(
    results: Iterable[tuple[Row, Prediction | TextError]], rows: int, keep: Sequence[str] = ()
) -> None:
    """A table a screenful, so that the first results show while others are computed."""
    blank = [""] * len(keep)
    while screenful := list(islice(results, _SCREENFUL)):
        table = Table(
            *map(escape, keep), "text", "label", "", "probability", box=None, pad_edge=False
        )
        for row, result in screenful:
            whole = " ¦ ".join("" if text is None else str(text) for text in row.shown.values())
            shown = escape(whole if len(whole) <= 60 else whole[:59] + "…")
            kept = [escape("" if row.kept.get(k) is None else str(row.kept[k])) for k in keep]
            if isinstance(result, TextError):
                table.add_row(*kept, shown, f"[red]{escape(result.message)}[/]", "", "")
                continue
            for label, probability in list(result.probabilities.items())[:rows]:
                bar = "█" * max(1, round(probability * _BAR))
                table.add_row(*kept, shown, escape(label), f"[cyan]{bar}[/]", f"{probability:.4f}")
                kept, shown = blank, ""
            if result.tokens is not None:
                table.add_row(*blank, "", f"[dim]{escape(_note(result))}[/]", "", "")
        out.print(table)


def _note(result: Prediction) -> str:
    """What details say of a text."""
    parts = [f"{result.model} {result.version}", f"{result.tokens} tokens"]
    if result.chunks and result.chunks > 1:
        parts.append(f"{result.chunks} chunks")
    if result.truncated:
        parts.append("cut")
    if result.decided is False:
        parts.append("not sure enough for a label")
    if result.labels is not None:
        parts.append(f"labels: {', '.join(result.labels) or 'none'}")
    if result.set is not None:
        parts.append(f"{result.set_coverage:.0%} set: {', '.join(result.set) or 'empty'}")
    return ", ".join(parts)


def version_as_json(model: Model) -> dict[str, Any]:
    """One version, for programs."""
    return {**asdict(model), "ready": model.ready, "state": model.state}


def print_change(model: Model, as_json: bool) -> None:
    """A version after it was changed."""
    if as_json:
        print_json(version_as_json(model))
        return
    default = ", the default version" if model.default else ""
    out.print(
        f"{escape(model.name)} {escape(model.version)}: {model.ready}/{model.wanted} workers "
        f"ready{default}"
    )


def print_status(found: dict[str, Any], as_json: bool) -> None:
    """A server: where it listens, and its models."""
    if as_json:
        print_json(found)
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
            escape(model["name"]),
            escape(model["version"]),
            "✓" if model["default"] else "",
            escape(model["state"]),
            f"{ready}/{len(model['workers'])}",
        )
    out.print(models)


def calibration_line(found: Mapping[str, Any]) -> str:
    """A calibration, what it was fitted on, and what it brings."""
    origin = found.get("provenance")
    if not origin:
        return str(found["method"])
    before, after = origin["before"]["ece_width"], origin["after"]["ece_width"]
    parts = [
        f"{found['method']}, on {origin['texts']:,} texts of {origin['data']}: "
        f"ECE {before:.4f} → {after:.4f}"
    ]
    if found.get("threshold") is not None:
        parts.append(f"a label from {found['threshold']:.4f} on")
    if found.get("thresholds"):
        parts.append("a threshold for each label")
    if found.get("sets"):
        parts.append(f"prediction sets for {found['sets']['coverage']:.0%}")
    if origin["looks_seen"]:
        parts.append("the texts look as if the model was trained on them")
    return "; ".join(parts)


def quoted(names: Sequence[str], most: int = 5) -> str:
    """Names in quotation marks, the first few of many."""
    shown = ", ".join(f'"{name}"' for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def progress_line() -> Progress:
    """A line that says what goes on, on a terminal; nothing in a pipe."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def steps_listed() -> Iterator[Callable[[str], None]]:
    """Lists steps on a terminal, the last one running; a step says more of itself after a colon."""
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}", markup=False))
    with Progress(
        *columns, TimeElapsedColumn(), console=err, disable=not err.is_terminal
    ) as progress:

        def report(step: str) -> None:
            last = progress.tasks[-1] if progress.tasks else None
            if last and last.description.partition(":")[0] == step.partition(":")[0]:
                progress.update(last.id, description=step)
                return
            if last:
                progress.update(last.id, completed=1)
            progress.add_task(step, total=1)

        yield report
        if progress.tasks:
            progress.update(progress.tasks[-1].id, completed=1)


def warn(message: str) -> None:
    """What the caller should know, beside the results."""
    err.print(f"[yellow]Warning:[/] {escape(message)}", soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """A value for programs."""
    sys.stdout.write(as_json(value, indent=2) + "\n")
    sys.stdout.flush()  # a program may read it while this one goes on

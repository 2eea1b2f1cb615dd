"""Commands: rollout, rollback, canary, models …"""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .. import serving
from ..system import as_ctrl_c
from ..versions import Limits, Versions
from ..versions import rollback as roll_back
from ..versions import rollout as roll_out
from .app import AsJson, ConfigFile, Name, Version, app, models, out
from .printing import (
    calibration_line,
    print_change,
    print_json,
    progress_line,
    steps_listed,
    version_as_json,
)
from .texts import texts_of

# what `models compare` shows of each version, and how
_COMPARED = {
    "requests": "{:,}",
    "failed": "{:.2%}",
    "texts": "{:,}",
    "tokens": "{:.1f}",
    "truncated": "{:.2%}",
    "milliseconds": "{:.2f}",
    "confidence": "{:.3f}",
    "entropy": "{:.3f}",
}
_MOST_LABELS = 10
# what a rollout has done with the former version
_LEFT = {
    "retired": "is served no more",
    "kept": "stays with one worker, for `bertserve rollback`",
    "busy": "stays as it is, for callers ask for it by its version",
}


class Share(str, Enum):
    """How requests are chosen for a canary."""

    text = "text"
    random = "random"


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
    errors: Annotated[
        float, typer.Option(help="Share of requests that may fail meanwhile.", min=0, max=1)
    ] = Limits.errors,
    watch: Annotated[
        float, typer.Option(help="Seconds without an error before it is trusted.", min=0)
    ] = 60.0,
    retire: Annotated[bool, typer.Option(help="Take the former version away.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an archive the default version of its model, or leave everything as it was."""
    server = serving.find(config)
    as_ctrl_c()
    with steps_listed() as report:
        outcome = roll_out(
            server,
            archive,
            texts=texts_of(texts) or (),
            limits=Limits(labels_changed, slowdown, errors),
            watch=watch,
            retire=retire,
            report=report,
        )
    if as_json:
        print_json(asdict(outcome))
        return
    out.print(f"[green]{escape(outcome.name)} {escape(outcome.version)} is the default version[/]")
    if found := outcome.comparison:
        out.print(
            f"beside {escape(str(outcome.former))}, on {found.texts} texts: "
            f"{found.labels_changed:.1%} of labels change, probabilities move by "
            f"{found.largest_shift:.2g} at most, {found.mean_shift:.2g} on average; a request takes "
            f"{found.seconds * 1000:.0f} ms, before {found.seconds_before * 1000:.0f} ms",
            highlight=False,
            soft_wrap=True,
        )
    if outcome.former:
        out.print(f"{escape(outcome.former)} {_LEFT[str(outcome.left)]}")


@app.command()
def rollback(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Make the version that was the default before the default again."""
    with progress_line() as steps:
        task = steps.add_task("")
        model = roll_back(
            serving.find(config), name, lambda step: steps.update(task, description=step)
        )
    print_change(model, as_json)


@app.command()
def canary(
    name: Name,
    version: Annotated[str, typer.Option(help="The version that is tried.")],
    percent: Annotated[
        float, typer.Option(help="Share of the requests; 0 ends it.", min=0, max=100)
    ],
    by: Annotated[
        Share, typer.Option(help="The same texts each time, or requests at random.")
    ] = Share.text,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send a share of the requests of our clients on this machine to a version."""
    Versions(serving.find(config)).canary(name, version, percent, by.value)
    if as_json:
        print_json({"name": name, "version": version, "percent": percent, "by": by.value})
    elif percent:
        out.print(f"{percent:g} % of requests go to {escape(name)} {escape(version)}")
    else:
        out.print(f"{escape(name)} has no canary")


@models.command("list")
def list_models(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every version of every model: workers, queue, precision, labels, memory, the default one."""
    versions = Versions(serving.find(config))
    found = []
    for model in versions.all():
        described = versions.description(model)
        found.append(
            {
                **version_as_json(model),
                "precision": described.precision if described else None,
                "labels": len(described.labels) if described else None,
                "memory": versions.memory(model),
            }
        )
    if as_json:
        print_json(found)
        return
    columns = "model version default state workers waiting precision labels memory".split()
    table = Table(*columns, box=None)
    for each in found:
        table.add_row(
            escape(each["name"]),
            escape(each["version"]),
            "✓" if each["default"] else "",
            escape(each["state"]),
            f"{each['ready']}/{each['wanted']}",
            f"{each['pending']}/{each['queue']}",
            each["precision"] or "",
            str(each["labels"] or ""),
            f"{each['memory'] / 1e6:.0f} MB",
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
    server = serving.find(config)
    model = Versions(server).one(name, version)
    with server.client(name, version=model.version) as client:
        found = {**version_as_json(model), **asdict(client.describe())}
    if as_json:
        print_json(found)
        return
    facts = Table(show_header=False, box=None)
    for key, value in found.items():
        shown = ", ".join(value) if key == "labels" else value
        shown = calibration_line(value) if key == "calibration" else shown
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
    with progress_line() as steps:
        steps.add_task(f"loading {archive.name}")
        model = Versions(serving.find(config)).register(archive, workers)
    print_change(model, as_json)


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
    with progress_line() as steps:
        steps.add_task("waiting for the workers")
        model = Versions(serving.find(config)).scale(name, version, workers)
    print_change(model, as_json)


@models.command("set-default")
def set_default(
    name: Name, version: Version, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Answer requests that name no version with this one."""
    versions = Versions(serving.find(config))
    versions.set_default(name, version)
    print_change(versions.one(name, version), as_json)


@models.command()
def unregister(
    name: Name, version: Version, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Serve a version no more, and move its archive to retired/ in the model store."""
    Versions(serving.find(config)).unregister(name, version)
    if as_json:
        print_json({"unregistered": {"name": name, "version": version}})
    else:
        out.print(f"{escape(name)} {escape(version)} is served no more")


@models.command()
def compare(
    name: Name,
    versions: Annotated[list[str], typer.Argument(help="Versions, two or more.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What versions have done since the server was started, side by side."""
    found = Versions(serving.find(config)).compare(name, *versions)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    table = Table("", *(escape(each.version) for each in found), box=None)
    for title, shape in _COMPARED.items():
        table.add_row(title.replace("_", " "), *(shape.format(getattr(o, title)) for o in found))
    shares = {
        label: max(o.labels.get(label, 0) for o in found) for o in found for label in o.labels
    }
    for label in sorted(shares, key=lambda label: -shares[label])[:_MOST_LABELS]:
        row = (f"{each.labels.get(label, 0):.1%}" for each in found)
        table.add_row(f"label {escape(label)}", *row)
    out.print(table)

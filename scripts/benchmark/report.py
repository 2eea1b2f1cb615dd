"""Medians, tables, the plot, and docs/performance.md."""

from __future__ import annotations

import json
import operator
import re
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from rich import table
from rich.console import Console

from .engine import TRANSFORMERS
from .environments import Absent, environment
from .models import FINE_TUNED, RANDOM
from .servers import ORDINARY

JSON, PLOT = "bench.json", "bench.svg"
PAGE = "performance.md"
MEGABYTE = 1_000_000
COMPARED = 64  # connections at which servers are compared, where that was measured
_TEMPLATE = Path(__file__).with_name("performance.md.in")
_PART = Path(__file__).with_name("performance-part.md.in")
# kinds of machine that have a part of the page each, and the flag that tells the first
_AMX = "amx_bf16"
_KINDS = ("amx", "no-amx")
_KEYS = ("server", "workload", "connections")
_NONE = "–"


@dataclass(frozen=True)
class Table:
    """Cells as they are shown, in the terminal and on the page."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def rich(self) -> table.Table:
        shown = table.Table(self.header[0], title=self.title, title_justify="left")
        for name in self.header[1:]:
            shown.add_column(name, justify="right")
        for row in self.rows:
            shown.add_row(*row)
        return shown


def medians(measurements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The median over the rounds of each figure of a server, workload and number of connections."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for measurement in measurements:
        groups[tuple(measurement[key] for key in _KEYS)].append(measurement)
    return [
        {
            **dict(zip(_KEYS, group, strict=True)),
            "rounds": len(members),
            **{
                name: statistics.median(member[name] for member in members)
                for name in members[0]
                if name not in (*_KEYS, "round")
            },
        }
        for group, members in groups.items()
    ]


def show(results: Mapping[str, Any]) -> None:
    """Print all tables, and what could not be measured."""
    # a file has no width; this is enough for the widest table
    console = Console(width=None if sys.stdout.isatty() else 150)
    for each in (*serving_tables(results), engine_table(results)):
        if each.rows:
            console.print(each.rich())
    for line in left_out(results):
        console.print(line, markup=False)


def serving_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Of each workload: requests/s, latencies, and what serving costs."""
    for workload in results["options"]["workloads"]:
        yield throughput_table(results, workload)
        yield latency_table(results, workload)
        yield cost_table(results, workload)


def throughput_table(results: Mapping[str, Any], workload: str) -> Table:
    """Requests/s by connections, and how many times those of others."""
    connections = results["options"]["connections"]
    at = compared(connections)
    cells = _cells(results, workload)
    ours = {name for name in results["servers"] if name.startswith("bertserve")}
    rates = {
        name: cells[name, at]["requests_per_second"]
        for name in results["servers"]
        if (name, at) in cells
    }
    best = max((rate for name, rate in rates.items() if name not in ours), default=0)
    rows = [
        [
            _title(results, name),
            *(_figure(cells, (name, each), "requests_per_second") for each in connections),
            ratio(rates.get(name), rates.get(ORDINARY)),
            ratio(rates.get(name), best),
        ]
        for name in results["servers"]
    ]
    return Table(
        f"{workload}: requests/s",
        [
            "connections",
            *map(str, connections),
            f"× ordinary TorchServe at {at}",
            f"× best of the others at {at}",
        ],
        rows,
    )


def latency_table(results: Mapping[str, Any], workload: str) -> Table:
    """Median and 99th percentile by connections."""
    connections = results["options"]["connections"]
    cells = _cells(results, workload)
    rows = [
        [
            _title(results, name),
            *(
                f"{_figure(cells, (name, each), 'p50_ms')} / {_figure(cells, (name, each), 'p99_ms')}"
                for each in connections
            ),
        ]
        for name in results["servers"]
    ]
    return Table(f"{workload}: p50 / p99, ms", ["connections", *map(str, connections)], rows)


def cost_table(results: Mapping[str, Any], workload: str) -> Table:
    """CPU and memory where servers are compared, and the errors of all loads."""
    connections = results["options"]["connections"]
    at = compared(connections)
    cells = _cells(results, workload)
    rows = [
        [
            _title(results, name),
            _figure(cells, (name, at), "cpu_seconds"),
            _figure(cells, (name, at), "cpu_ms_per_request"),
            _figure(cells, (name, at), "peak_memory", MEGABYTE),
            str(errors(results, name, workload)) if (name, at) in cells else _NONE,
        ]
        for name in results["servers"]
    ]
    header = [f"at {at} connections", "CPU s", "CPU ms a request", "peak memory, MB"]
    return Table(f"{workload}: what it costs", [*header, "errors, all loads and rounds"], rows)


def engine_table(results: Mapping[str, Any]) -> Table:
    """The classifier alone, and how much of the rate of matrix products it reaches."""
    rows = []
    for engine in results["engine"]:
        for call in engine["calls"]:
            row = [
                f"{engine['precision']}, {call['workload']}",
                str(call["texts"]),
                number(call["texts_per_second"]),
            ]
            if "rates" in call:
                before, after = (call["rates"][place] for place in (0, -1))
                row += [number(call["operations_per_second"] / 1e9)]
                row += [
                    f"{number(before[name] / 1e9)} → {number(after[name] / 1e9)}" for name in before
                ]
                row += [engine["computes_in"], f"{call['share']:.0%}"]
            else:
                row += [_NONE] * 4 + [engine["computes_in"], _NONE]
            row.append(f"{call['same_labels']:.2%}" if "same_labels" in call else _NONE)
            rows.append(row)
    header = ["engine", "texts a call", "texts/s", "Gop/s"]
    header += ["float32", "bfloat16", "int8", "computes in", "share", "labels as in float32"]
    return Table("the engine alone; matrix products in Gop/s before → after", header, rows)


def compare_labels(engines: Sequence[dict[str, Any]]) -> None:
    """Replace the labels of each call by the share that is as in transformers' float32."""
    right = {}
    for engine in engines:
        for call in engine["calls"]:
            labels, place = call.pop("labels"), (call["workload"], call["texts"])
            if engine["precision"] == TRANSFORMERS:
                right[place] = labels
            elif place in right:
                same = sum(map(operator.eq, labels, right[place]))
                call["same_labels"] = same / len(labels)


def left_out(results: Mapping[str, Any]) -> list[str]:
    """A sentence for each server that could not be measured, or not in every round."""
    lines = [
        f"{server['title']} is absent: {server['absent']}"
        for server in results["servers"].values()
        if server["absent"]
    ]
    return lines + [
        f"{_title(results, failure['server'])} failed {failure['when']}: {failure['reason']}"
        for failure in results["failures"]
    ]


def errors(results: Mapping[str, Any], server: str, workload: str) -> int:
    """Requests that did not succeed, over all loads and rounds."""
    return sum(
        each["errors"]
        for each in results["measurements"]
        if each["server"] == server and each["workload"] == workload
    )


def compared(connections: Sequence[int]) -> int:
    """The connections at which servers are compared."""
    return COMPARED if COMPARED in connections else max(connections)


def ratio(value: float | None, other: float | None) -> str:
    return f"{value / other:.2f}" if value is not None and other else _NONE


def number(value: float) -> str:
    """Three digits are what a benchmark knows."""
    if value >= 1000:
        return f"{round(value, 3 - len(str(int(value)))):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def plot(output: Path) -> None:
    """Draw the plot beside the JSON; said in one sentence where that cannot be done."""
    try:
        python = environment("plot") / "python"
    except Absent as error:
        print(f"no plot: {error}", file=sys.stderr)
        return
    program = Path(__file__).parent / "peers" / "plot.py"
    command = [str(python), str(program), str(output / JSON), str(output / PLOT)]
    subprocess.run([*command, str(COMPARED)], check=True)


def write_docs(output: Path, docs: Path) -> None:
    """Make this kind of machine's part of the page, and its plot, from what the last run wrote."""
    runs = {name: output / name / JSON for name in (FINE_TUNED, *RANDOM)}
    if not runs[FINE_TUNED].exists():
        sys.exit(f"Error: {runs[FINE_TUNED]} is not there; run scripts/bench first")
    results, *others = (json.loads(path.read_bytes()) for path in runs.values() if path.exists())
    kind = _KINDS[_AMX not in results["machine"]["flags"]]
    page = docs / PAGE
    parts = _parts(page.read_text(encoding="utf-8") if page.exists() else "")
    parts[kind] = part(results, others, kind)
    values = {kind.replace("-", "_"): _marked(kind, parts[kind]) for kind in _KINDS}
    page.write_text(
        Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(values), encoding="utf-8"
    )
    drawn = output / FINE_TUNED / PLOT
    if not drawn.exists():
        plot(drawn.parent)
    if drawn.exists():
        shutil.copyfile(drawn, docs / f"{page.stem}-{kind}.svg")


def _marked(kind: str, text: str) -> str:
    return f"<!-- {kind}: made by scripts/bench --docs -->\n{text.strip()}\n<!-- end of {kind} -->"


def _parts(page: str) -> dict[str, str]:
    """The parts that a page has, by kind of machine; of a kind that was not measured yet one says so."""
    found = dict.fromkeys(_KINDS, "Not measured yet.")
    for kind in _KINDS:
        if match := re.search(
            rf"<!-- {kind}: .*?-->\n(.*?)\n<!-- end of {kind} -->", page, re.DOTALL
        ):
            found[kind] = match[1]
    return found


def part(results: Mapping[str, Any], others: Sequence[Mapping[str, Any]], kind: str) -> str:
    """What was measured on one kind of machine: prose, with the figures in their places.

    others      results of the other models
    """
    machine, options = results["machine"], results["options"]
    tables = [f"**{each.title}**\n\n{each.markdown()}" for each in serving_tables(results)]
    return Template(_PART.read_text(encoding="utf-8")).substitute(
        kind=kind,
        models="\n\n".join(map(_model_tables, others)) or "Not measured yet.",
        date=results["date"][:10],
        commit=results["commit"],
        cpu=machine["cpu"],
        cores=machine["cores"],
        flags=", ".join(machine["flags"]) or "none of those that matter here",
        memory=number(machine["memory"] / 1e9),
        system=machine["system"],
        load_average=f"{machine['load_average']:.1f}",
        rounds=options["rounds"],
        seconds=options["seconds"],
        versions=", ".join(f"{name} {each}" for name, each in results["versions"].items()),
        peers="\n".join(
            f"- {server['title']}: {', '.join(server['packages'])}"
            for server in results["servers"].values()
            if server["packages"]
        ),
        workloads="\n".join(
            f"| `{name}` | {each['texts']:,} | {each['mean_tokens']:.0f} | {each['longest_tokens']} |"
            for name, each in results["workloads"].items()
        ),
        serving="\n\n".join(tables),
        engine=engine_table(results).markdown(),
        left_out="\n".join(f"- {line}" for line in left_out(results)) or "Nothing was left out.",
    )


def _cells(results: Mapping[str, Any], workload: str) -> dict[tuple[str, int], Mapping[str, Any]]:
    """(server, connections) → the medians of a workload."""
    return {
        (each["server"], each["connections"]): each
        for each in medians(results["measurements"])
        if each["workload"] == workload
    }


def _figure(
    cells: Mapping[tuple[str, int], Mapping[str, Any]],
    place: tuple[str, int],
    name: str,
    unit: float = 1,
) -> str:
    return number(cells[place][name] / unit) if place in cells else _NONE


def _title(results: Mapping[str, Any], server: str) -> str:
    return str(results["servers"].get(server, {"title": server})["title"])


def _model_tables(results: Mapping[str, Any]) -> str:
    """Of another model: the servers' requests/s, and the engine alone."""
    tables = [throughput_table(results, each) for each in results["options"]["workloads"]]
    if not results["measurements"]:
        tables = []
    lines = [f"- {line}" for line in left_out(results)]
    shown = [f"**{each.title}**\n\n{each.markdown()}" for each in (*tables, engine_table(results))]
    return "\n\n".join([f"#### {results['model']}", *shown, *(["\n".join(lines)] if lines else [])])

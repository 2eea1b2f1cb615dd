"""One run: every server in turn, round after round, and the engine alone.

    scripts/bench                   everything: takes two hours or more
    scripts/bench --quick           one workload, two loads, about twenty minutes
    scripts/bench --models NAME …   of other models too
    scripts/bench --docs            this machine's part of docs/performance.md from the last run

Figures go to build/bench/MODEL/: bench.json with all of them, bench.svg, and the logs of the servers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

from . import models, report
from .checking import Probabilities, expected, offence
from .engine import TRANSFORMERS
from .environments import Absent
from .load import TIMEOUT, enough_seconds, send
from .machine import commit, describe_machine, versions
from .processes import Usage, is_alive, last_line, settle
from .servers import ROOT, SERVERS, Bertserve, Endpoint, OnnxRuntime, OpenVino, Server, Site
from .workloads import (
    NAMES,
    SEED,
    Workload,
    load_tokenizer,
    load_workloads,
    read_questions,
)

SHARED = ROOT.parent / "shared"
MODEL_DIR = SHARED / "models" / models.FINE_TUNED
DATA = SHARED / "data"
LONGEST = 512  # tokens that the model reads of a text
CONNECTIONS = (1, 16, 64, 256)

START_TIMEOUT = 180.0
WARM_UP_SECONDS = (2, 10)  # the second where nothing came back in the first
WARM_UP_CONNECTIONS = 16
CHECKED_TEXTS = 2  # of each workload
# texts of one call of the engine alone; long ones take long enough, and labels are compared of all
# short ones
ENGINE_TEXTS = {"short": (64, 3_080), "mixed": (64, 512), "long": (64,)}
ENGINE_REPEATS = 5

console = Console(stderr=True)


def main() -> None:
    os.environ.pop("PYTHONPATH", None)  # ours is not for the servers
    options = read_arguments()
    if options.docs:
        report.write_docs(options.output, ROOT / "docs")
        return
    for path in (MODEL_DIR, DATA):
        if not path.exists():
            sys.exit(f"Error: {path} is not there; the benchmark needs its model and its texts")
    for model in options.models:
        output = options.output / model
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bertserve-bench-") as work:
            os.environ["XDG_STATE_HOME"] = work  # of the servers that bertserve starts
            results = Run(options, model, output, Path(work)).measure()
        report.show(results)
        report.plot(output)
        console.print(f"written to {output}")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [server.name for server in SERVERS]
    add = parser.add_argument
    add("--quick", action="store_true", help="mixed texts, 1 and 64 connections, two rounds")
    add("--servers", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    add("--models", nargs="+", choices=models.NAMES, default=[models.FINE_TUNED], metavar="NAME")
    add("--workloads", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    add("--connections", nargs="+", type=int, metavar="N", help="of each load")
    add("--rounds", type=int, help="how often everything is measured; medians are told (3)")
    add("--seconds", type=int, help="of a measurement, at least; slow servers get more (5)")
    add("--no-engine", dest="engine", action="store_false", help="leave the engine alone out")
    add("--output", type=Path, default=ROOT / "build" / "bench", metavar="DIR")
    add("--docs", action="store_true", help="measure nothing; make docs/performance.md")
    options = parser.parse_args()
    quick = options.quick
    options.workloads = options.workloads or (["mixed"] if quick else list(NAMES))
    options.connections = options.connections or ([1, 64] if quick else list(CONNECTIONS))
    options.rounds = options.rounds or (2 if quick else 3)
    options.seconds = options.seconds or (3 if quick else 5)
    options.output = options.output.resolve()
    return options


class Run:
    """Everything that is measured with one set of options; results are written as they come."""

    def __init__(self, options: argparse.Namespace, model: str, output: Path, work: Path) -> None:
        self.options = options
        self.model = model
        self.output = output
        model_dir = models.make_model(model, MODEL_DIR, work / model)
        self.site = Site(model_dir, work, output / "logs", work / "calibration.json")
        self.site.logs.mkdir(exist_ok=True)
        questions = read_questions(DATA / "banking77" / "train.csv")
        self.site.texts.write_text(
            json.dumps(random.Random(SEED).sample(questions, len(questions)))
        )
        self.servers = [server for server in SERVERS if server.name in options.servers]
        workloads = load_workloads(DATA, load_tokenizer(model_dir), LONGEST)
        self.workloads = [workloads[name] for name in options.workloads]
        checked = [text for each in workloads.values() for text in each.texts[:CHECKED_TEXTS]]
        self.truth = expected(model_dir, checked)
        self.results = self._describe()

    def measure(self) -> dict[str, Any]:
        """All of it: a server that cannot be measured is named with the reason."""
        available = [server for server in self.servers if self._is_prepared(server)]
        if self.options.engine:
            self._measure_engines(available)
        loads = len(self.workloads) * len(self.options.connections)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("measuring", total=self.options.rounds * len(available))
            for number in range(1, self.options.rounds + 1):
                for server in available:
                    progress.update(
                        task,
                        description=f"round {number}: {server.title}, {loads} loads",
                    )
                    self._measure_server(server, number)
                    progress.advance(task)
        return self.results

    def _describe(self) -> dict[str, Any]:
        """What is known before anything is measured."""
        return {
            "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
            "commit": commit(ROOT),
            "model": self.model,
            "machine": describe_machine(),
            "versions": versions(),
            "options": {
                name: getattr(self.options, name)
                for name in ("quick", "workloads", "connections", "rounds", "seconds")
            },
            "workloads": {
                each.name: {
                    "texts": len(each.texts),
                    "mean_tokens": each.mean_length,
                    "longest_tokens": max(each.lengths),
                }
                for each in self.workloads
            },
            "servers": {
                server.name: {
                    "title": server.title,
                    "packages": list(server.packages),
                    "absent": None,
                }
                for server in self.servers
            },
            "failures": [],
            "engine": [],
            "measurements": [],
        }

    def _save(self) -> None:
        self.results["medians"] = report.medians(self.results["measurements"])
        (self.output / report.JSON).write_text(json.dumps(self.results, indent=1) + "\n")

    def _is_prepared(self, server: Server) -> bool:
        console.print(f"preparing {server.title}")
        try:
            server.prepare(self.site)
            self._write_bodies(server)
        except Absent as error:
            self.results["servers"][server.name]["absent"] = str(error)
            console.print(f"  absent: {error}", markup=False)
        self._save()
        return not self.results["servers"][server.name]["absent"]

    def _bodies(self, server: Server, workload: Workload) -> Path:
        return self.site.work / "bodies" / server.name / f"{workload.name}.jsonl"

    def _write_bodies(self, server: Server) -> None:
        for workload in self.workloads:
            path = self._bodies(server, workload)
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(server.body(text)) + "\n" for text in workload.texts]
            path.write_text("".join(lines))

    def _measure_engines(self, available: Sequence[Server]) -> None:
        """Each precision whose server is measured, and those of others, in processes of their own."""
        jobs = self._write_jobs()
        own = [sys.executable, "-m", "benchmark.engine", str(self.site.model_dir)]
        commands = {TRANSFORMERS: [*own, TRANSFORMERS, str(jobs)]}
        for server in available:
            if isinstance(server, Bertserve):
                commands[server.name] = [*own, server.precision, str(jobs)]
            elif isinstance(server, OnnxRuntime) or (
                isinstance(server, OpenVino) and server.hint == "THROUGHPUT"
            ):
                commands[server.name] = server.engine(self.site, jobs)
        for name, command in commands.items():
            console.print(f"the engine alone: {name}")
            try:
                self.results["engine"].append(_json_of(command))
            except subprocess.CalledProcessError as error:
                self._failed(name, "as an engine alone", error)
        report.compare_labels(self.results["engine"])
        self._save()

    def _write_jobs(self) -> Path:
        jobs = [
            {
                "workload": workload.name,
                "texts": workload.texts[:count],
                "repeats": ENGINE_REPEATS,
            }
            for workload in self.workloads
            for count in ENGINE_TEXTS[workload.name][: 1 if self.options.quick else None]
        ]
        path = self.site.work / "jobs.json"
        path.write_text(json.dumps(jobs))
        return path

    def _measure_server(self, server: Server, number: int) -> None:
        """One round of one server: start, check, all workloads at all connections, stop."""
        try:
            with server.serve(self.site) as endpoint:
                wait_until_ready(server, endpoint, self.site, next(iter(self.truth)))
                console.print(f"round {number}: {server.title}")
                check(server, endpoint, self.truth)
                for workload in self.workloads:
                    self._measure_workload(server, endpoint, workload, number)
        except (Absent, httpx.HTTPError, subprocess.CalledProcessError) as error:
            self._failed(server.name, f"in round {number}", error)
        self._save()

    def _failed(self, name: str, when: str, error: Exception) -> None:
        self.results["failures"].append({"server": name, "when": when, "reason": str(error)})
        console.print(f"  failed: {error}", markup=False)

    def _measure_workload(
        self, server: Server, endpoint: Endpoint, workload: Workload, number: int
    ) -> None:
        bodies = self._bodies(server, workload)
        for warm_up in WARM_UP_SECONDS:
            warm = send(endpoint.url, endpoint.headers, bodies, WARM_UP_CONNECTIONS, warm_up)
            if warm.responses:
                break
        for connections in self.options.connections:
            settle(endpoint.process)
            seconds = enough_seconds(self.options.seconds, connections, warm.requests_per_second)
            with Usage(endpoint.process) as usage:
                load = send(endpoint.url, endpoint.headers, bodies, connections, seconds)
            measurement = {
                "round": number,
                "server": server.name,
                "workload": workload.name,
                "connections": connections,
                **asdict(load),
                "requests_per_second": load.requests_per_second,
                "errors": load.errors,
                "cpu_seconds": usage.cpu_seconds,
                "cpu_ms_per_request": 1000 * usage.cpu_seconds / max(1, load.responses),
                "peak_memory": usage.peak_memory,
            }
            self.results["measurements"].append(measurement)
            console.print(
                f"  {workload.name}, {connections} connections: {load.requests_per_second:.1f} "
                f"requests/s, p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, "
                f"{load.errors} errors"
            )


def _json_of(command: Sequence[str]) -> dict[str, Any]:
    """What a program prints last."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def ask(server: Server, endpoint: Endpoint, text: str) -> httpx.Response:
    """Send one text."""
    with httpx.Client(trust_env=False, timeout=TIMEOUT) as client:
        return client.post(endpoint.url, json=server.body(text), headers=dict(endpoint.headers))


def wait_until_ready(server: Server, endpoint: Endpoint, site: Site, text: str) -> None:
    """Wait until a server answers a text; Absent where it ends, or takes too long."""
    last, answer = time.monotonic() + START_TIMEOUT, ""
    while time.monotonic() < last:
        if not is_alive(endpoint.process):
            raise Absent(f"it ended: {last_line(site.logs / f'{server.name}.log')}")
        try:
            response = ask(server, endpoint, text)
            if response.is_success:
                return
            answer = f"it answers {response.status_code}: {response.text[:200]}"
        except httpx.TransportError as error:
            answer = f"it does not answer ({type(error).__name__})"
        time.sleep(0.2)
    raise Absent(f"after {START_TIMEOUT:.0f} s {answer}")


def check(server: Server, endpoint: Endpoint, truth: Mapping[str, Probabilities]) -> None:
    """Absent where it answers wrongly: what is wrong need not be fast."""
    for text, right in truth.items():
        response = ask(server, endpoint, text)
        if not response.is_success:
            raise Absent(f"it answers {response.status_code}: {response.text[:200]}")
        if wrong := offence(server.read(response.json()), right, server.tolerance):
            raise Absent(f"{wrong}, to {text[:40]!r}")

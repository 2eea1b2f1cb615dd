"""A fleet on this machine, by the commands of the chart, and what its callers notice.

faults    replicas are killed, stopped, frozen and cut off in turn, and a version is rolled out
scaling   load rises and falls tenfold, and an autoscaler decides how many replicas there are
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import tiny
from bertserve.archives import package

from .callers import Answers, Question, curls, grpc_caller
from .faults import CONNECTIONS, Seen, play
from .fleet import Fleet
from .following import follow, is_steady
from .hosts import Network, on
from .manifests import Chart

REPLICAS, MOST = 3, 4
TOKEN = "5f0c" * 16
BODY = json.dumps({"text": "good film"})
VERSIONS = ("1.0", "2.0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2, help="of all faults and a rollout")
    parser.add_argument("--parts", nargs="+", choices=["faults", "scaling"], default=["faults"])
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bertserve-fleet-"))
        folder.chmod(0o755)
        print(f"what containers say is in {folder}", file=sys.stderr)
        network = stack.enter_context(Network())
        items = _archives(folder, network, stack)
        right = []
        if "faults" in asked.parts:
            charts = [Chart.of(_values(item)) for item in items]
            fleet = Fleet(charts[0], network, folder / "faults")
            with fleet.running(REPLICAS):
                right.append(_faults(fleet, charts, folder, asked.rounds))
        if "scaling" in asked.parts:
            scaling = {"autoscaling": {"kind": "hpa", "min": 1, "max": MOST, "busyWorkers": "0.7"}}
            fleet = Fleet(Chart.of({**_values(items[0]), **scaling}), network, folder / "scaling")
            with fleet.running(1):
                right.append(_scaling(fleet, folder))
    if not all(right):
        sys.exit("Error: see the tables")


def _values(item: dict[str, str]) -> dict[str, Any]:
    return {
        "tokens": {"inline": {"tests": TOKEN}},
        "archives": {"items": [item]},
        "replicas": REPLICAS,
    }


def _archives(folder: Path, network: Network, stack: ExitStack) -> list[dict[str, str]]:
    """Versions of a small model with a worker each, where replicas can fetch them."""
    store = folder / "store"
    for number, version in enumerate(VERSIONS):
        model = tiny.make_model(folder / f"model-{version}", seed=number)
        package(model, name="tiny", version=version, output=store, workers=1)
    command = [sys.executable, "-m", "http.server", "8080", "--directory", str(store)]
    serving = subprocess.Popen(
        on(network.bridge, command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(serving.wait)
    stack.callback(serving.terminate)
    return [
        {
            "uri": f"http://{network.bridge.address}:8080/tiny-{version}.mar",
            "sha256": hashlib.sha256((store / f"tiny-{version}.mar").read_bytes()).hexdigest(),
        }
        for version in VERSIONS
    ]


def _question(fleet: Fleet, folder: Path, charts: list[Chart]) -> Question:
    """What is asked; right is what a replica of each version answers when nothing happens."""
    url = f"http://{fleet.address}:8000/predictions/tiny"
    right = []
    for number, chart in enumerate(charts):
        pod = fleet.replicas[0] if chart is fleet.chart else fleet.add(chart)
        pod.wait_until_ready()
        kept = folder / f"right-{number}"
        command = ["curl", "-s", "-f", "-o", str(kept), "-H", f"Authorization: Bearer {TOKEN}"]
        command += ["-H", "Content-Type: application/json", "-d", BODY]
        command += [f"http://{pod.host.address}:8000/predictions/tiny"]
        subprocess.run(on(fleet.network.bridge, command), check=True)
        right.append(kept)
        if chart is not fleet.chart:
            fleet.remove(pod)
    return Question(url, TOKEN, BODY, right)


def _faults(fleet: Fleet, charts: list[Chart], folder: Path, rounds: int) -> bool:
    question = _question(fleet, folder, charts)
    seen: list[Seen] = []
    bridge = fleet.network.bridge
    with (
        curls(bridge, question, folder) as curl,
        grpc_caller(bridge, question, f"{fleet.address}:9000") as grpc,
    ):
        for each in play(fleet, question, charts, rounds):
            print(each, file=sys.stderr, flush=True)
            seen.append(each)
    print(f"{REPLICAS} replicas, {CONNECTIONS} connections of wrk\n")
    print("| fault | until all was well, s | requests | failed | median, ms | 99 % | longest |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for each in seen:
        answers = each.answers
        times = f"{answers.median:,.0f} | {answers.p99:,.0f} | {answers.longest:,.0f}"
        print(
            f"| {each.fault} | {each.seconds:.0f} | {answers.answered:,} | {answers.failed} | {times} |"
        )
    failed = sum(each.answers.failed for each in seen)
    print("\n| beside it, one request after the other | requests | failed | longest, s |")
    print("|---|---:|---:|---:|")
    alone = {"curl, a connection each, two at a time": curl, "gRPC, one connection": grpc}
    for name, found in alone.items():
        print(f"| {name} | {found.requests:,} | {len(found.failures)} | {found.longest:.1f} |")
    failures = [*curl.failures, *grpc.failures]
    for said in {each.answers.example for each in seen} | set(failures[:5]) - {""}:
        print(said, file=sys.stderr)
    return not failed and not failures


def _scaling(fleet: Fleet, folder: Path) -> bool:
    question = _question(fleet, folder, [fleet.chart])
    steps, runs = follow(fleet, question)
    names = list(steps[0].averages)
    print(f"\n| s | connections | replicas, ready | {' | '.join(names)} | wanted |")
    print(f"|---:|---:|---:|{'---:|' * len(names)}---:|")
    for number, step in enumerate(steps):
        if number and (step.desired, step.connections) == (
            step.replicas,
            steps[number - 1].connections,
        ):
            continue
        averages = " | ".join(str(step.averages[name]) for name in names)
        print(
            f"| {step.seconds:.0f} | {step.connections} | {step.replicas}, {step.ready} | {averages} "
            f"| {step.desired} |"
        )
    answers: list[Answers] = runs
    failed = sum(each.failed for each in answers)
    print(f"\n{sum(each.answered for each in answers):,} requests answered, {failed} failed")
    for each in answers:
        if each.example:
            print(each.example, file=sys.stderr)
    return not failed and is_steady(steps, 1)


if __name__ == "__main__":
    main()

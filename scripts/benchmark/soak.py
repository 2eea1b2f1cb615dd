"""Very many requests to one server: what its processes hold meanwhile, and whether that grows.

scripts/soak --requests 200000      minutes; prints a table in Markdown
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from bertserve.clients import bearer
from bertserve.handler.settings import Settings

from .load import send
from .profile import serving, write_bodies
from .servers import MODEL

CONNECTIONS = 64
SLICE = 15  # seconds of load between two looks
_SETTLING = 0.2  # of the requests; caches fill, and the JVM takes what it is allowed
_MEGABYTE = 1_000_000
_HUNDRED_THOUSAND = 100_000


@dataclass(frozen=True)
class Look:
    """After so many requests: unique memory (USS) in MB, and open files and sockets."""

    requests: int
    front_end: float
    workers: float
    open_files: int


def look(root: psutil.Process, requests: int) -> Look:
    """What a server's processes hold now."""
    workers = root.children(recursive=True)
    return Look(
        requests,
        root.memory_full_info().uss / _MEGABYTE,
        sum(worker.memory_full_info().uss for worker in workers) / _MEGABYTE,
        sum(process.num_fds() for process in (root, *workers)),
    )


def growth(looks: list[Look], name: str) -> float:
    """How much a figure grows in 100,000 requests once it has settled: the slope of its line."""
    settled = [each for each in looks if each.requests >= _SETTLING * looks[-1].requests]
    line = statistics.linear_regression(
        [each.requests for each in settled], [getattr(each, name) for each in settled]
    )
    return line.slope * _HUNDRED_THOUSAND


def main() -> None:
    """Print what was seen after each slice of load."""
    parser = argparse.ArgumentParser(description="Send very many requests and watch the memory.")
    parser.add_argument("--requests", type=int, default=200_000)
    wanted = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="bertserve-soak-") as name:
        folder = Path(name)
        bodies = write_bodies(folder)
        with serving(folder / "store", Settings()) as server:
            root = psutil.Process(server.pid)
            pids = {worker.pid for worker in root.children(recursive=True)}
            url = f"{server.addresses.inference}/predictions/{MODEL}"
            looks = [look(root, 0)]
            print("| requests | front end, MB | workers, MB | open files |\n|---:|---:|---:|---:|")
            while looks[-1].requests < wanted:
                load = send(url, bearer(server.key("inference")), bodies, CONNECTIONS, SLICE)
                assert not load.errors, f"{load.errors} requests failed"
                seen = look(root, looks[-1].requests + load.responses)
                looks.append(seen)
                memory = f"{seen.front_end:.0f} | {seen.workers:.0f}"
                print(f"| {seen.requests:,} | {memory} | {seen.open_files} |", flush=True)
            assert pids == {worker.pid for worker in root.children(recursive=True)}, "one restarted"
    print(
        f"\nIn 100,000 requests, past the first fifth: front end {growth(looks, 'front_end'):+.1f} MB, "
        f"workers {growth(looks, 'workers'):+.1f} MB, open files {growth(looks, 'open_files'):+.1f}"
    )


if __name__ == "__main__":
    main()

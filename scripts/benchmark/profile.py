"""Where a loaded bertserve spends its time, and what TorchServe costs without our changes to its ways.

scripts/profile     ten minutes; prints two tables in Markdown
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import psutil
import ts

from bertserve.archives import package
from bertserve.clients import bearer
from bertserve.handler.settings import Settings
from bertserve.serving import Server, read_config, start

from .environments import environment
from .load import send
from .processes import cpu_seconds, settle
from .run import DATA, LONGEST, MODEL_DIR
from .servers import MODEL, ROOT, on_free_ports
from .workloads import load_tokenizer, load_workloads

ROUNDS, SECONDS, WARM_UP, CONNECTIONS = 3, 8, 5, (1, 64)
WITHOUT_LOGS = "with TorchServe's logging"
WITHOUT_READER = "with TorchServe's message reader"
# what a frame of a worker's stack works on; the first that is found counts
_PARTS = {
    "encode (handler/engine/kernels": "the encoder, one call",
    "(handler/engine/classifier.py": "the rest of the model",
    "(handler/text/tokenizer.py": "tokenizing",
    "(handler/probabilities/activation.py": "probabilities",
    "(handler/wire": "reading requests, writing answers",
    "retrieve_msg (ts/": "TorchServe's messages",
    "(ts/": "the rest of TorchServe's worker",
}


@dataclass(frozen=True)
class Cost:
    """CPU milliseconds of a request, and requests/s."""

    front_end: float
    workers: float
    requests_per_second: float


@contextmanager
def serving(folder: Path, settings: Settings, log_config: Path | None = None) -> Iterator[Server]:
    """bertserve with these settings; its own way of logging, unless another is given."""
    package(MODEL_DIR, name=MODEL, version="1.0", output=folder, settings=settings, force=True)
    config = folder / "config.properties"
    config.write_text(on_free_ports((ROOT / "config.properties").read_text()))
    own = (
        mock.patch("bertserve.serving.starting._LOG_CONFIG", log_config)
        if log_config
        else mock.MagicMock()
    )
    with own:
        server = start(read_config(config), folder)
    try:
        yield server
    finally:
        server.stop()


def load(server: Server, bodies: Path, connections: int, seconds: int = SECONDS) -> Cost:
    """The cost of requests under load."""
    front_end = psutil.Process(server.pid)
    workers = front_end.children(recursive=True)
    before = cpu_seconds(front_end), sum(map(_cpu, workers))
    url = f"{server.addresses.inference}/predictions/{MODEL}"
    measured = send(url, bearer(server.key("inference")), bodies, connections, seconds)
    assert not measured.errors, f"{measured.errors} requests failed"
    every, own = cpu_seconds(front_end) - before[0], sum(map(_cpu, workers)) - before[1]
    of_one = 1000 / measured.responses
    return Cost((every - own) * of_one, own * of_one, measured.requests_per_second)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def parts(server: Server, bodies: Path) -> Counter[str]:
    """Samples of a worker's stack under load, by what it works on."""
    worker = psutil.Process(server.pid).children(recursive=True)[-1]
    output = Path(server.directory) / "stacks.txt"
    spy = environment("profile") / "py-spy"
    command = [spy, "record", "--pid", str(worker.pid), "--duration", str(SECONDS), "--rate", "200"]
    command += ["--format", "raw", "--output", str(output)]
    recorder = subprocess.Popen(list(map(str, command)), stdout=-3, stderr=-3)
    load(server, bodies, CONNECTIONS[-1], SECONDS + 2)
    recorder.wait()
    found: Counter[str] = Counter()
    for line in output.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        found[next((part for frame, part in _PARTS.items() if frame in stack), "other")] += int(
            count
        )
    return found


def torchserves_logging(folder: Path) -> Path:
    """TorchServe's own logging, from its jar."""
    jar = Path(ts.__file__).parent / "frontend" / "model-server.jar"
    path = folder / "log4j2.xml"
    path.write_bytes(zipfile.ZipFile(jar).read("log4j2.xml"))
    return path


def write_bodies(folder: Path) -> Path:
    """The requests of the mixed workload, one a line."""
    texts = load_workloads(DATA, load_tokenizer(MODEL_DIR), LONGEST)["mixed"].texts
    bodies = folder / "bodies.jsonl"
    bodies.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return bodies


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory(prefix="bertserve-profile-") as name:
        folder = Path(name)
        bodies = write_bodies(folder)
        variants = {
            "as shipped": (Settings(), None),
            WITHOUT_READER: (Settings(buffered_reader=False), None),
            WITHOUT_LOGS: (Settings(), torchserves_logging(folder)),
        }
        costs: dict[tuple[str, int], list[Cost]] = defaultdict(list)
        stacks: Counter[str] = Counter()
        for _ in range(ROUNDS):
            for variant, (settings, log_config) in variants.items():
                with serving(folder / "store", settings, log_config) as server:
                    load(server, bodies, CONNECTIONS[-1], WARM_UP)
                    for connections in CONNECTIONS:
                        settle(psutil.Process(server.pid))
                        costs[variant, connections].append(load(server, bodies, connections))
                    if variant == "as shipped":
                        stacks += parts(server, bodies)
    print("| | connections | front end, ms | workers, ms | requests/s |\n|---|---:|---:|---:|---:|")
    for (variant, connections), found in costs.items():
        front_end, workers, rate = (
            statistics.median(getattr(cost, name) for cost in found)
            for name in ("front_end", "workers", "requests_per_second")
        )
        print(f"| {variant} | {connections} | {front_end:.2f} | {workers:.2f} | {rate:.0f} |")
    print("\n| a loaded worker | share |\n|---|---:|")
    for part, count in stacks.most_common():
        print(f"| {part} | {count / stacks.total():.0%} |")


if __name__ == "__main__":
    main()

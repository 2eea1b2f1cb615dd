"""All checks, one after the other, in a process that may be lost to an error of the GPU: then in another.

python -m gpu_kit.table ROOT DEVICE DEADLINE MODEL PARTS JSON FIRST    the process that runs them
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import transformers

from . import checks, fast, right, served, survives
from .checks import Check, Checks, Figures, Row
from .paths import hide_from_others, kit_environment

_LOST = 70  # status of a process to which the GPU is lost


def run_all(options: argparse.Namespace) -> int:
    """Run and show the checks until the time is over; 1 where something is wrong, 2 without a GPU."""
    if not options.cpu and not torch.cuda.is_available():
        print(
            f"Error: torch {torch.__version__} sees no GPU here; run it where nvidia-smi shows one, with "
            "torch's build for GPUs, or see the same code at work with --cpu",
            file=sys.stderr,
        )
        return 2
    device = torch.device("cpu" if options.cpu else "cuda:0")
    machine = describe(device)
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    signal.signal(signal.SIGTERM, _end)
    status = 0
    with tempfile.TemporaryDirectory(prefix="gpu-kit-") as name:
        file = Path(name) / "rows.jsonl"
        try:
            _run(options, device, file)
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        rows = _read(file)
    counts = Counter(row.outcome for row in rows)
    print(
        f"{counts['ok']} right, {counts['WRONG']} wrong, {counts['skipped']} skipped "
        f"on {machine['device']}"
    )
    return status or int(counts["WRONG"] > 0)


def _run(options: argparse.Namespace, device: torch.device, file: Path) -> None:
    """Processes that run checks, the next one where the last was lost."""
    model = options.model.resolve() if options.model else None
    json_file = options.json.resolve() if options.json else None
    root, record = file.parent, Record(file, json_file, device)
    deadline = time.time() + 60 * options.minutes
    command = [sys.executable, "-m", "gpu_kit.table", str(root), str(device), str(deadline)]
    command += [str(model or ""), ",".join(options.parts), str(json_file or "")]
    names = [(part, check.name) for part, check in _named(device, root, model, options.parts)]
    while len(rows := record.rows()) < len(names):
        status = _wait([*command, str(len(rows))])
        rows = record.rows()
        if len(rows) < len(names):
            text = "the GPU is lost" if status == _LOST else "the process died"
            record.add(Row(*names[len(rows)], "WRONG", f"{text}, status {status}", 0.0, {}))


def _wait(command: list[str]) -> int:
    """The status of a process, which ends when this one is ended."""
    # Ctrl-C at the terminal is for us: the process is told once, and stops the server that it started
    process = subprocess.Popen(command, env=kit_environment(), start_new_session=True)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _end(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


class Record:
    """What was found until now, in files, so that nothing is lost with a process or at a time limit."""

    def __init__(self, file: Path, json_file: Path | None, device: torch.device) -> None:
        self._file = file
        self._json_file = json_file
        self._machine = describe(device)

    def rows(self) -> list[Row]:
        """All of it."""
        return _read(self._file)

    def add(self, row: Row) -> None:
        """Show and keep one more."""
        checks.show(row)
        with self._file.open("a") as lines:
            lines.write(json.dumps(asdict(row), default=str) + "\n")
        if self._json_file:
            content = {**self._machine, "checks": [asdict(each) for each in self.rows()]}
            self._json_file.write_text(json.dumps(content, indent=1) + "\n")


def _read(file: Path) -> list[Row]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def _named(
    device: torch.device, root: Path, model: Path | None, parts: list[str]
) -> Generator[tuple[str, Check], None, None]:
    """All checks in their order, each with its part."""
    found: dict[str, Callable[[], Checks]] = {
        "right": lambda: right.checks(device, root / "models", model),
        "survives": lambda: survives.checks(device, root),
        "fast": lambda: fast.checks(device),
        "served": lambda: served.checks(device, root / "served"),
    }
    for part in parts:
        with closing(found[part]()) as some:
            for check in some:
                yield part, check


def _child() -> None:
    """Run the checks from a number on."""
    root, device, deadline, model, parts, json_file, first = sys.argv[1:]
    hide_from_others()
    signal.signal(signal.SIGTERM, _end)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    record = Record(
        Path(root) / "rows.jsonl", Path(json_file) if json_file else None, torch.device(device)
    )
    wanted = Path(model) if model else None
    named = _named(torch.device(device), Path(root), wanted, parts.split(","))
    try:
        with closing(named):  # whatever happens, a server that was started is stopped
            for part, check in islice(named, int(first), None):
                record.add(_outcome(part, check, float(deadline)))
    except torch.AcceleratorError as error:
        print(str(error).splitlines()[0], file=sys.stderr, flush=True)
        os._exit(_LOST)  # nothing that the GPU still holds can be put away


def _outcome(part: str, check: Check, deadline: float) -> Row:
    if time.time() > deadline:
        return Row(part, check.name, "skipped", "the time is over", 0.0, {})
    return checks.run(part, check)


def describe(device: torch.device) -> Figures:
    """What was measured on."""
    found: Figures = {"device": platform.processor() or platform.machine()}
    if device.type == "cuda":
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
        found = {
            "device": torch.cuda.get_device_name(device),
            "memory_gib": round(torch.cuda.get_device_properties(device).total_memory / 2**30),
            "driver": driver[0] if driver else "unknown",
            "cuda": torch.version.cuda,
        }
    return {
        **found,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    _child()

"""All checks, one after the other, in a process that may be lost to an error of the GPU: then in another.

python -m gpu_kit.table ROWS.jsonl FIRST …     the process that runs checks from a number on
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import transformers

from . import checks, fast, right, served, survives
from .checks import Check, Figures, Row
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
    deadline = time.time() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="gpu-kit-") as name:
        rows = _run(options, device, Path(name), deadline)
    if options.json:
        content = {**machine, "checks": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=1, default=str) + "\n")
    counts = {
        outcome: sum(row.outcome == outcome for row in rows)
        for outcome in ("ok", "WRONG", "skipped")
    }
    print(
        f"{counts['ok']} right, {counts['WRONG']} wrong, {counts['skipped']} skipped "
        f"on {machine['device']}"
    )
    return int(counts["WRONG"] > 0)


def _run(
    options: argparse.Namespace, device: torch.device, root: Path, deadline: float
) -> list[Row]:
    """Processes that run checks, the next one where the last was lost."""
    file = root / "rows.jsonl"
    command = [sys.executable, "-m", "gpu_kit.table", str(root), str(device), str(deadline)]
    command += [str(options.model.resolve()) if options.model else "", ",".join(options.parts)]
    while True:
        done = _read(file)
        status = subprocess.run(
            [*command, str(len(done))], env=kit_environment(), check=False
        ).returncode
        rows = _read(file)
        if status == 0:
            return rows
        names = list(_named(device, root, options.model, options.parts))
        if len(rows) == len(names):
            return rows
        part, check = names[len(rows)]
        text = "the GPU is lost" if status == _LOST else "the process died"
        lost = Row(part, check.name, "WRONG", f"{text}, status {status}", 0.0, {})
        checks.show(lost)
        _write(file, lost)


def _named(
    device: torch.device, root: Path, model: Path | None, parts: list[str]
) -> Iterator[tuple[str, Check]]:
    """All checks in their order, each with its part."""
    found: dict[str, Callable[[], Iterator[Check]]] = {
        "right": lambda: right.checks(device, root / "models", model),
        "survives": lambda: survives.checks(device, root),
        "fast": lambda: fast.checks(device),
        "served": lambda: served.checks(device, root / "served"),
    }
    for part in parts:
        for check in found[part]():
            yield part, check


def _child() -> None:
    """Run the checks from a number on."""
    root, device, deadline, model, parts, first = sys.argv[1:]
    file = Path(root) / "rows.jsonl"
    hide_from_others()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    all_checks = _named(
        torch.device(device), Path(root), Path(model) if model else None, parts.split(",")
    )
    for number, (part, check) in enumerate(all_checks):
        if number < int(first):
            continue
        if time.time() > float(deadline):
            row = Row(part, check.name, "skipped", "the time is over", 0.0, {})
        else:
            try:
                row = checks.run(part, check)
            except torch.AcceleratorError as error:
                print(f"{check.name}: {str(error).splitlines()[0]}", file=sys.stderr)
                sys.stderr.flush()
                os._exit(_LOST)
        checks.show(row)
        _write(file, row)


def _write(file: Path, row: Row) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(row), default=str) + "\n")


def _read(file: Path) -> list[Row]:
    if not file.exists():
        return []
    return [Row(**json.loads(line)) for line in file.read_text().splitlines()]


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

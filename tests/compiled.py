"""What tests need that not every machine has: kernels take a compiler, and a CPU that they know."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from handler.engine.kernels import BUILDS, FOLDER, Kernels, find_compiler, kernels, lacking
from handler.engine.kernels.compiling import compile_one
from once import made_once

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


def usable_build(name: str, factory: pytest.TempPathFactory) -> Kernels:
    """The kernels for one kind of CPU; the test is skipped where this one cannot run them."""
    return Kernels(name, usable_library(name, factory))


def usable_library(name: str, factory: pytest.TempPathFactory) -> Path:
    """The same, as a file."""
    if emulates_tiles(name):
        folder = made_once(factory, f"{name}-emulated", lambda folder: _compile(name, folder))
        return folder / f"{name}.so"
    if reason := missing(name):
        pytest.skip(reason)
    return FOLDER / f"{name}.so"


def _compile(name: str, folder: Path) -> None:
    command = [*compiler(), *EMULATING_TILES]
    folder.mkdir(exist_ok=True)
    problem = compile_one(command, name, folder, folder)
    assert not problem


def compiler() -> list[str]:
    """What compiles kernels here; the test is skipped where nothing does."""
    found = find_compiler()
    try:
        subprocess.run([*found, "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no compiler: {found[0]} does not run")
    return found

"""What tests need that not every machine has: kernels take a compiler, and a CPU that they know."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from handler.engine.kernels import (
    BUILDS,
    FOLDER,
    Kernels,
    digest,
    find_compiler,
    kernels,
    lacking,
)
from handler.engine.kernels.compiling import compile_one
from once import one_at_a_time

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason="no kernels: no compiler was here, or this CPU has no AVX2"
)
_TILES = {"amx_bf16", "amx_int8", "amx_tile"}
_HERE = Path(__file__).parent
_BUILT = _HERE.parent / "build" / "tests"
EMULATED_AMX = _HERE / "emulated_amx.h"
# what a compiler is told to make plain C++ of AMX's tiles
EMULATING_TILES = ("-include", str(EMULATED_AMX))
# what compares kernels with plain code
PROGRAM = _HERE / "handler" / "engine" / "emulated.cpp"


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
    return Kernels(name, usable_library(name))


def usable_library(name: str) -> Path:
    """The same, as a file."""
    if emulates_tiles(name):
        return built(f"{name}.so", lambda file: _emulate_tiles(name, file.parent))
    if reason := missing(name):
        pytest.skip(reason)
    return FOLDER / f"{name}.so"


def _emulate_tiles(name: str, into: Path) -> None:
    problem = compile_one([*compiler(), *EMULATING_TILES], name, into, into)
    assert not problem


def built(name: str, make: Callable[[Path], object]) -> Path:
    """What is compiled for tests, and kept until a source or the compiler is another."""
    folder = _BUILT / _made_of()
    with one_at_a_time(_BUILT):
        if not folder.exists():
            shutil.rmtree(_BUILT, ignore_errors=True)
            folder.mkdir(parents=True)
    with one_at_a_time(folder / name):
        if not (folder / name).exists():
            with tempfile.TemporaryDirectory(dir=folder) as unfinished:
                make(Path(unfinished) / name)
                (Path(unfinished) / name).rename(folder / name)
    return folder / name


@cache
def _made_of() -> str:
    version = subprocess.run([*compiler(), "--version"], capture_output=True, check=True).stdout
    own = (path.read_bytes() for path in (PROGRAM, EMULATED_AMX))
    return hashlib.sha256(b"".join((digest().encode(), version, *own))).hexdigest()[:16]


def compiler() -> list[str]:
    """What compiles kernels here; the test is skipped where nothing does."""
    found = find_compiler()
    try:
        subprocess.run([*found, "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no compiler: {found[0]} does not run")
    return found

"""What tests need that not every machine has: kernels take a compiler, and a CPU that they know."""

from __future__ import annotations

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
    return BUILDS[name].needs >= _TILES >= set(absent := lacking(BUILDS[name])) and bool(absent)


def usable_build(name: str) -> Kernels:
    """The kernels for one kind of CPU; the test is skipped where this one cannot run them."""
    absent = lacking(BUILDS[name])
    if absent and not emulates_tiles(name):
        pytest.skip(f"this CPU has no {absent[0]}, which {name} needs")
    if not (FOLDER / f"{name}.so").exists():
        pytest.skip(f"{name} was not compiled")
    return _with_emulated_tiles(name) if absent else Kernels(name, FOLDER / f"{name}.so")


@cache
def _with_emulated_tiles(name: str) -> Kernels:
    with tempfile.TemporaryDirectory() as folder:
        problem = compile_one(
            [*find_compiler(), *EMULATING_TILES], name, Path(folder), Path(folder)
        )
        assert not problem
        return Kernels(name, Path(folder) / f"{name}.so")  # which needs the file no more

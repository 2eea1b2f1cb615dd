"""What tests need that not every machine has: kernels take a compiler, and a CPU that they know."""

from __future__ import annotations

import pytest

from handler.engine.kernels import BUILDS, FOLDER, Kernels, kernels, lacking

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason="no kernels: no compiler was here, or this CPU has no AVX2"
)


def missing(name: str) -> str:
    """Why the kernels for one kind of CPU cannot be run here; "" where they can."""
    absent = lacking(BUILDS[name])
    if absent:
        return f"this CPU has no {absent[0]}, which {name} needs"
    return "" if (FOLDER / f"{name}.so").exists() else f"{name} was not compiled"


def usable_build(name: str) -> Kernels:
    """The kernels for one kind of CPU; the test is skipped where this one cannot run them."""
    if reason := missing(name):
        pytest.skip(reason)
    return Kernels(name, FOLDER / f"{name}.so")

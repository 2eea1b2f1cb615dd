"""What tests need that not every machine has: kernels take a compiler, and a CPU that they know."""

from __future__ import annotations

import pytest
import torch

from handler.engine.kernels import BUILDS, FOLDER, Kernels, kernels

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason="no kernels: no compiler was here, or this CPU has no AVX2"
)


def usable_build(name: str) -> Kernels:
    """The kernels for one kind of CPU; the test is skipped where this one cannot run them."""
    path, capabilities = FOLDER / f"{name}.so", torch.cpu.get_capabilities()
    if not path.exists():
        pytest.skip(f"{name} was not compiled")
    if missing := sorted(each for each in BUILDS[name].needs if not capabilities.get(each)):
        pytest.skip(f"this CPU has no {missing[0]}, which {name} needs")
    return Kernels(name, path)

"""What tests need that not every machine has: kernels take a compiler, and a CPU that they know."""

from __future__ import annotations

import pytest

from handler.engine.kernels import kernels

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason="no kernels: no compiler was here, or this CPU has no AVX2"
)

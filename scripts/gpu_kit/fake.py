"""The whole CUDA path without a GPU: tensors that have a shape, a type and a device, but no numbers.

A tensor on the wrong device, an index of the wrong type, a shape or a head size that a kernel refuses, a
number that the CPU would wait for: all of that is seen. Triton's kernels are compiled for the GPU. It
takes torch's CUDA build. What depends on numbers is not seen, so the comparison at load is left out, and
both of its outcomes are driven.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import Any

import torch
import transformers

import tiny

from . import checks, models
from .checks import Check

_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
# of GPUs that have flash attention, and of those before them
_CAPABILITIES = ((9, 0), (7, 5))


def drive() -> int:
    """Drive everything, print a line each; 1 where something is wrong, 2 without a CUDA build."""
    if not torch.version.cuda:
        print(
            f"Error: torch {torch.__version__} is no build for CUDA; install one in an environment of "
            "its own and name its Python, PYTHON=… scripts/gpu --fake",
            file=sys.stderr,
        )
        return 2
    transformers.utils.logging.set_verbosity_error()
    logging.disable(logging.WARNING)  # memory is to run out
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, no GPU")
    rows = []
    for check in _checks():
        rows.append(checks.run("fake", check))
        checks.show(rows[-1])
    wrong = sum(row.outcome != "ok" for row in rows)
    print(f"{len(rows) - wrong} right, {wrong} wrong")
    return int(wrong > 0)


def _checks() -> list[Check]:
    from .faked import drive_model  # which takes Triton

    found = []
    sizes = [(f"heads of {size}", {"hidden_size": 4 * size}) for size in models.HEAD_SIZES]
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        *((name, name, {}) for name in tiny.ARCHITECTURES),
        *((name, "bert", config) for name, config in sizes),
    ]
    for capability in _CAPABILITIES:
        for name, architecture, config in kinds:
            for dtype in _DTYPES:
                where = f"{name}, {str(dtype)[6:]}, sm_{capability[0]}{capability[1]}"
                found.append(
                    Check(where, partial(drive_model, architecture, config, dtype, capability))
                )
    return found

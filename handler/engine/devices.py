"""Where a worker computes: the GPU that TorchServe gave it, or its share of the CPU's cores."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from ..errors import LoadError
from .kernels import kernels

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def choose_device(gpu_id: int | str | None) -> torch.device:
    """The device of a worker, from TorchServe's `gpu_id` (None: no GPU was given)."""
    if gpu_id is None:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise LoadError(
            f"TorchServe gave this worker GPU {gpu_id}, but torch {torch.__version__} cannot use "
            "one; install torch's build for GPUs, or set `deviceType: cpu` in model-config.yaml"
        )
    return torch.device(f"cuda:{gpu_id}")


def on(device: torch.device) -> AbstractContextManager[object]:
    """Within it a GPU is the current one: Triton and graphs do not ask where tensors are."""
    return nullcontext() if device.type == "cpu" else torch.cuda.device(device)


def choose_precision(precision: str, device: torch.device) -> str:
    """What `auto` stands for on a device; LoadError where a precision cannot be had there."""
    if precision == "int8" and not multiplies_int8(device):
        raise LoadError(
            "precision int8 needs a CPU with AVX2, or dot products on aarch64, and an archive with "
            "kernels for it, and this is "
            f"{device}; package the model with --precision auto, or on a machine with a C++ compiler"
        )
    if precision != "auto":
        return precision
    return "bfloat16" if multiplies_bfloat16(device) else "float32"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16 products."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    found = torch.cpu.get_capabilities()
    library = kernels()
    ours = library is not None and library.multiplies_bfloat16
    return bool(ours or found.get("avx512_bf16") or found.get("amx_bf16"))


def multiplies_int8(device: torch.device) -> bool:
    """Whether there is a kernel for int8 products on this device."""
    return device.type == "cpu" and kernels() is not None


def keep_sums_in_order() -> None:
    """Have a GPU sum each number of a product in one go, whatever rows there are.

    Left alone cuBLAS splits the sums of few rows into parts, and a text's bits would depend on how many
    others are beside it.
    """
    torch.backends.cuda.preferred_blas_library("cublaslt")  # cuBLAS itself cannot be told
    products = torch.backends.cuda.matmul
    # whether sums may be rounded on their way, and whether they may be split
    products.allow_fp16_reduced_precision_reduction = (False, False)
    products.allow_bf16_reduced_precision_reduction = (False, False)


def cpu_cores() -> int:
    """Cores that this process may use: its affinity, or its container's CPU quota if smaller."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, _cpu_quota() or cores or 1))


def _cpu_quota() -> int | None:
    """Whole cores that the control group allows (v2, then v1), None where nothing limits them."""
    try:
        if _CGROUP_V2.exists():
            quota, period = _CGROUP_V2.read_text().split()
        else:
            quota, period = _CGROUP_V1.read_text(), _CGROUP_V1_PERIOD.read_text()
        return max(1, int(quota) // int(period)) if int(quota) > 0 else None
    except (OSError, ValueError):  # no control group, or "max": no limit
        return None


def use_threads(threads: int | None, workers: int) -> int:
    """Set the threads of this CPU worker: `threads`, or the cores shared out among `workers`.

    Without this every worker starts a thread a core, and they spend their time in each other's way.
    """
    threads = threads or max(1, cpu_cores() // max(1, workers))
    torch.set_num_threads(threads)
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # the tokenizer's thread pool
    return threads

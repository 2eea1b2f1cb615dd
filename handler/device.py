"""Where a worker computes: the GPU that TorchServe gave it, or its share of the CPU's cores."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from .errors import LoadError

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

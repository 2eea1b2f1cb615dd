import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from handler.engine import devices as device
from handler.errors import LoadError


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No control group; a test writes the files of the one that it wants."""
    for name in ("_CGROUP_V2", "_CGROUP_V1", "_CGROUP_V1_PERIOD"):
        monkeypatch.setattr(device, name, tmp_path / name)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    return tmp_path


@pytest.fixture
def _same_threads_after() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_without_a_gpu_the_cpu_is_used() -> None:
    assert device.choose_device(None) == torch.device("cpu")


def test_the_gpu_is_the_one_that_torchserve_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.choose_device(3) == torch.device("cuda:3")


def test_a_gpu_that_torch_cannot_use_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LoadError, match="GPU 0, but torch .* cannot use one; install"):
        device.choose_device(0)


def test_cores_are_those_of_the_affinity(cgroup: Path) -> None:
    assert not list(cgroup.iterdir())
    assert device.cpu_cores() == 8


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("300000 100000", 3), ("50000 100000", 1), ("max 100000", 8), ("6400000 100000", 8)],
)
def test_a_container_s_quota_counts(cgroup: Path, limit: str, cores: int) -> None:
    (cgroup / "_CGROUP_V2").write_text(limit)
    assert device.cpu_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("-1", 8)])
def test_a_quota_of_the_first_version_counts_too(cgroup: Path, quota: str, cores: int) -> None:
    (cgroup / "_CGROUP_V1").write_text(quota)
    (cgroup / "_CGROUP_V1_PERIOD").write_text("100000")
    assert device.cpu_cores() == cores


@pytest.mark.usefixtures("cgroup", "_same_threads_after")
@pytest.mark.parametrize(
    ("threads", "workers", "expected"), [(None, 1, 8), (None, 3, 2), (None, 99, 1), (5, 2, 5)]
)
def test_workers_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, workers: int, expected: int
) -> None:
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    assert device.use_threads(threads, workers) == expected
    assert torch.get_num_threads() == expected
    assert os.environ["RAYON_NUM_THREADS"] == str(expected)

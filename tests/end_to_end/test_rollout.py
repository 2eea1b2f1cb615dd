"""A rollout under load loses no request; what fails at any step leaves what was served."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny
from bertserve.archives.inspection import golden
from bertserve.clients.canary import Canary, read_canaries
from bertserve.clients.client import Client
from bertserve.errors import RolloutFailed, ServerError
from bertserve.serving.config import read_config
from bertserve.serving.server import Server, find
from bertserve.serving.starting import start
from bertserve.serving.state import alone
from bertserve.versions import rollouts
from bertserve.versions.checks import Limits
from bertserve.versions.rollbacks import rollback
from bertserve.versions.rollouts import rollout
from bertserve.versions.versions import RETIRED, Versions
from faults import kill_front_end, our_callers
from serving import PATIENCE, environment, served, spoil, wait_until, write_config

# however slow this machine is at the moment
ANY = Limits(slowdown=1_000)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("rollout"))


@pytest.fixture(scope="module", autouse=True)
def _running(archives: list[Path], config: Path) -> Iterator[None]:
    store = config.parent / "store"
    store.mkdir()
    (store / "tiny-1.0.mar").write_bytes(archives[0].read_bytes())
    start(read_config(config), store)
    yield
    find(config).stop()


@pytest.fixture
def server(config: Path) -> Server:
    """It serves 1.0 before each test, and again after all that fails."""
    return find(config)


@pytest.mark.parametrize("step", ["prove", "compare", "check_comparison", "watch_default"])
def test_a_failure_at_each_step_puts_everything_back(
    step: str, archives: list[Path], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ServerError("something is wrong")

    monkeypatch.setattr(rollouts, step, fail)
    with (
        our_callers(server) as seen,
        pytest.raises(RolloutFailed, match=r"something.*1\.0 is served as before"),
    ):
        rollout(server, archives[1], watch=0, limits=ANY)
    seen.assert_whole()
    assert served(Versions(server)) == {"1.0": True}


def test_labels_that_change_too_often_are_refused(archives: list[Path], server: Server) -> None:
    with pytest.raises(RolloutFailed, match="of 32 texts get another label; 0.0% is allowed"):
        rollout(server, archives[1], watch=0, limits=Limits(labels_changed=0, slowdown=1_000))
    assert served(Versions(server)) == {"1.0": True}


def test_probabilities_that_are_not_those_of_the_archive_are_noticed(
    archives: list[Path], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [(text, dict.fromkeys(found, 1 / len(found))) for text, found in golden(archives[1])]
    monkeypatch.setattr(rollouts, "golden", lambda _: own)
    with pytest.raises(RolloutFailed, match="its probabilities differ by"):
        rollout(server, archives[1], watch=0, limits=ANY)


def test_an_archive_without_texts_to_prove_itself_on(
    archives: list[Path], server: Server, tmp_path: Path
) -> None:
    older = Path(shutil.copy(archives[1], tmp_path))
    spoil(older, "golden.json", b"{}", unnoticed=True)
    with pytest.raises(RolloutFailed, match="brings no texts to prove itself on; package it again"):
        rollout(server, older, watch=0, limits=ANY)
    assert served(Versions(server)) == {"1.0": True}


@pytest.mark.parametrize("ending", ["SIGHUP", "killed"])
def test_a_rollout_that_is_cut_off_can_be_rolled_back(
    ending: str, archives: list[Path], server: Server, config: Path
) -> None:
    process = in_the_background(archives[1], config)
    wait_until(lambda: served(Versions(server)) == {"1.0": False, "2.0": True})
    os.kill(process.pid, signal.SIGHUP if ending == "SIGHUP" else signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    if ending == "killed":
        assert rollback(server, "tiny").version == "1.0"
        Versions(server).unregister("tiny", "2.0")
    assert served(Versions(server)) == {"1.0": True}


def in_the_background(archive: Path, config: Path) -> subprocess.Popen[str]:
    """A rollout that is watched for ever."""
    command = [sys.executable, "-m", "bertserve", "rollout", str(archive), "--watch", "600"]
    command += ["--slowdown", "1000"]
    command += ["--config", str(config), "--json"]
    return subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=_signals_end
    )


def _signals_end() -> None:
    """These tests may run under nohup or in the background, whose children ignore some signals."""
    for ending in (signal.SIGHUP, signal.SIGINT):
        signal.signal(ending, signal.SIG_DFL)


def test_one_rollout_at_a_time(archives: list[Path], server: Server) -> None:
    held = alone(Path(server.directory) / "rollout.lock", "")
    with held, pytest.raises(ServerError, match="another rollout or rollback is under way"):
        rollout(server, archives[1], watch=0, limits=ANY)
    assert served(Versions(server)) == {"1.0": True}


def test_ctrl_c_puts_everything_back(archives: list[Path], server: Server, config: Path) -> None:
    process = in_the_background(archives[1], config)
    wait_until(lambda: served(Versions(server)) == {"1.0": False, "2.0": True})
    for _ in range(2):  # an impatient one
        os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode
    assert served(Versions(server)) == {"1.0": True}


def test_a_server_that_dies_while_a_version_is_watched_comes_back_with_the_former_one(
    archives: list[Path], server: Server, config: Path
) -> None:
    process = in_the_background(archives[1], config)
    wait_until((Path(server.directory) / "untrusted.json").exists)
    assert served(Versions(server)) == {"1.0": False, "2.0": True}
    process.kill()
    process.communicate(timeout=PATIENCE)
    kill_front_end(server)
    start(read_config(config), Path(server.model_store))
    again = find(config)
    assert served(Versions(again)) == {"1.0": True, "2.0": False}
    Versions(again).unregister("tiny", "2.0")


def test_a_canary_gets_its_share_and_is_taken(archives: list[Path], server: Server) -> None:
    versions = Versions(server)
    versions.register(archives[1])
    with server.client("tiny") as client, server.grpc_client("tiny") as grpc_client:
        versions.canary("tiny", "2.0", 30)
        texts = [f"{first} {second}" for first in tiny.WORDS for second in tiny.WORDS][:300]
        answered = [client.classify(text, details=True).version for text in texts]
        assert 50 < answered.count("2.0") < 130  # 90 ± 8
        assert set(answered) == {"1.0", "2.0"}
        assert answered[:50] == [
            grpc_client.classify(text, details=True).version for text in texts[:50]
        ]

        def told() -> bool:  # workers do it once a second
            found = versions.compare("tiny", "1.0", "2.0")
            return all(each.texts >= answered.count(each.version) for each in found)

        wait_until(told)
        former, canary = versions.compare("tiny", "1.0", "2.0")
        assert canary.requests >= answered.count("2.0")
        assert (former.failed, canary.failed) == (0, 0)
        assert sum(canary.labels.values()) == pytest.approx(1)
        with Client(
            "tiny",
            version=Canary("3.0", 100),  # which is not served
            url=server.addresses.inference,
            key=server.key,
        ) as mistaken:
            assert mistaken.classify("good film", details=True).version == "1.0"
        rollout(server, archives[1], watch=0, limits=ANY)  # the very version that was tried
        assert read_canaries(versions.state) == {}
        assert {client.classify(text, details=True).version for text in texts[:50]} == {"2.0"}
        rollback(server, "tiny")
        versions.canary("tiny", "2.0", 100)
        assert client.classify("good film", details=True).version == "2.0"
        versions.unregister("tiny", "2.0")
        assert client.classify("good film", details=True).version == "1.0"
    assert served(versions) == {"1.0": True}


def test_a_rollout_and_a_rollback_under_load(archives: list[Path], server: Server) -> None:
    steps: list[str] = []
    with our_callers(server) as seen:
        outcome = rollout(server, archives[1], watch=2, report=steps.append, limits=ANY)
        assert (outcome.former, outcome.version, outcome.left) == ("1.0", "2.0", "kept")
        assert outcome.comparison is not None
        assert outcome.comparison.texts == len(golden(archives[1])) == 32
        assert served(Versions(server)) == {"1.0": False, "2.0": True}
        assert set(seen.answers) == {"1.0", "2.0"}
        assert rollback(server, "tiny").version == "1.0"
        assert served(Versions(server)) == {"1.0": True, "2.0": False}
        assert rollback(server, "tiny").version == "2.0"  # and forth again
    seen.assert_whole()
    assert [step.partition(" ")[0] for step in steps if not step.startswith("watching")] == [
        "loading", "proving", "comparing", "making", "waiting",
    ]  # fmt: skip


def test_the_former_version_can_be_retired(archives: list[Path], server: Server) -> None:
    versions = Versions(server)
    if len(served(versions)) > 1:
        versions.set_default("tiny", "1.0")
        versions.unregister("tiny", "2.0")
    rollout(server, archives[1], watch=0, retire=True, limits=ANY)
    assert served(Versions(server)) == {"2.0": True}
    assert (Path(server.model_store) / RETIRED / "tiny-1.0.mar").exists()
    with pytest.raises(ServerError, match=r"tiny 1\.0 is served no more; roll out its archive"):
        rollback(server, "tiny")

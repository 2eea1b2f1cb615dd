"""Faults under load: our clients lose nothing, whatever happens; what others lose ends with the fault."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

import tiny
from bertserve import Prediction
from bertserve.errors import BertserveError, NotRunning
from bertserve.serving.config import read_config
from bertserve.serving.server import Server, find
from bertserve.serving.starting import start
from bertserve.versions.metrics import Metrics
from bertserve.versions.rollouts import rollout
from bertserve.versions.versions import Versions
from faults import (
    Seen,
    fill_disk,
    foreign_callers,
    hang_worker,
    impatient_callers,
    kill_front_end,
    kill_worker,
    our_callers,
    worker_pids,
)
from serving import PATIENCE, spoil, wait_until, write_config

KILLS = 10


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("survival"))


@pytest.fixture(scope="module")
def store(archives: list[Path], config: Path) -> Path:
    store = config.parent / "store"
    store.mkdir()
    shutil.copy(archives[0], store)
    return store


@pytest.fixture
def server(store: Path, config: Path) -> Iterator[Server]:
    """The server of 1.0, with two workers: the one that the test before left, or a new one."""
    try:
        yield find(config)
    except NotRunning:
        server = start(read_config(config), store)
        Versions(server).scale("tiny", None, 2)
        yield server


@pytest.fixture(scope="module", autouse=True)
def _stop_at_the_end(config: Path) -> Iterator[None]:
    yield
    with contextlib.suppress(NotRunning):
        find(config).stop()


def changed(content: bytes, **values: object) -> bytes:
    """A JSON object with other values."""
    return json.dumps({**json.loads(content), **values}).encode()


def others(server: Server, threads: int = 4) -> AbstractContextManager[Seen]:
    return foreign_callers(
        server.addresses.inference, lambda: server.key("inference"), threads=threads
    )


def go_on(seen: Seen, requests: int = 20) -> None:
    """Wait until so many more are answered."""
    wanted = seen.answers.total() + requests
    wait_until(lambda: seen.answers.total() >= wanted)


def test_a_worker_is_killed_again_and_again(server: Server) -> None:
    with our_callers(server) as seen, others(server) as foreign:
        for _ in range(KILLS):
            kill_worker(server)
        wait_until(lambda: len(worker_pids(server)) == 2)
        go_on(seen)
        go_on(foreign)
    seen.assert_whole()
    assert set(foreign.failures) <= {"status 500", "status 507"}
    assert foreign.failures.total() <= KILLS  # what was at the worker


def test_a_worker_hangs(server: Server) -> None:
    with our_callers(server) as seen, others(server) as foreign:
        go_on(seen)
        hang_worker(server)
        go_on(seen)
        go_on(foreign)
    seen.assert_whole()
    assert "hung" not in foreign.failures
    assert "does not answer, so it is ended" in (server.logs / "supervisor.log").read_text()


def test_callers_give_up_around_the_moment_of_the_answer(server: Server) -> None:
    """Deadlines, cancelled calls, closed connections and streams cost no worker."""
    before = worker_pids(server)
    addresses = server.addresses

    def channel() -> grpc.Channel:
        return grpc.insecure_channel(addresses.grpc_inference)

    def key() -> str | None:
        return server.key("inference")

    with (
        our_callers(server) as seen,
        impatient_callers(channel, addresses.inference, key, latency=0.02) as ended,
    ):
        wait_until(lambda: ended.total() > 1500)
        go_on(seen)
    seen.assert_whole()
    assert ended["predictions DEADLINE_EXCEEDED"] > 0
    assert ended["model_infer DEADLINE_EXCEEDED"] > 0
    assert ended["stream_predictions_2 UNIMPLEMENTED"] > 0
    assert sorted(worker_pids(server)) == sorted(before)


def test_a_worker_that_torchserve_has_lost_is_brought_back(
    archives: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TorchServe's own classes: its thread ends, and it goes on saying READY."""
    monkeypatch.setattr("bertserve.serving.starting.mend", lambda _: None)
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(archives[0], store)
    config = write_config(tmp_path, disable_token_authorization="true")
    server = start(read_config(config), store)
    try:
        (first,) = worker_pids(server)
        addresses = server.addresses
        states: set[str] = set()

        def is_lost() -> bool:
            states.update(model.state for model in server.models())
            return not psutil.pid_exists(first)

        def channel() -> grpc.Channel:
            return grpc.insecure_channel(addresses.grpc_inference)

        with our_callers(server) as seen:
            with impatient_callers(channel, addresses.inference, lambda: None, latency=0.02):
                wait_until(is_lost)
            assert server.models()[0].ready == 0 or worker_pids(server) != [first]
            wait_until(lambda: server.models()[0].state == "READY")
            go_on(seen)
        # a call that was lost with the thread is never answered, and ends by its own deadline
        assert all(reason.startswith("TimedOut") for reason in seen.failures), seen.failures
        assert not seen.wrong
        (model,) = server.models()
        assert (model.wanted, len(model.workers)) == (1, 1)
        metrics = httpx.get(f"{addresses.supervisor}/metrics", timeout=PATIENCE).text
        assert re.search(r"bertserve_workers_lost_total\{.*\} [1-9]", metrics)
        assert Versions(server).scale("tiny", None, 2).ready == 2
        assert Versions(server).scale("tiny", None, 1).ready == 1
    finally:
        server.stop()
    again = start(read_config(config), store)
    try:
        assert len(again.models()[0].workers) == 1
    finally:
        again.stop()


def test_readiness_is_true(server: Server) -> None:
    url = f"{server.addresses.supervisor}/v2/health"
    assert httpx.get(f"{url}/live", timeout=PATIENCE).status_code == 200
    wait_until(lambda: httpx.get(f"{url}/ready", timeout=PATIENCE).status_code == 200)
    assert httpx.get(f"{url}/other", timeout=PATIENCE).status_code == 404
    for pid in worker_pids(server):
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: httpx.get(f"{url}/ready", timeout=PATIENCE).status_code == 503)
    assert {model.state for model in server.models()} <= {"DEGRADED", "LOADING"}
    wait_until(lambda: httpx.get(f"{url}/ready", timeout=PATIENCE).json() == {"ready": True})
    wait_until(lambda: server.models()[0].state == "READY")


def test_a_queue_overflows(server: Server) -> None:
    """Who finds the queue full is told at once; our clients come back until they are answered."""
    with our_callers(server) as seen:
        with others(server, threads=40) as foreign:
            wait_until(lambda: foreign.failures.total() > 100)
        go_on(seen)
    seen.assert_whole()
    assert set(foreign.failures) <= {"status 503", "ConnectionResetError", "BrokenPipeError"}
    assert foreign.answers.total() > 0


def test_no_log_line_can_be_written(server: Server) -> None:
    access = server.logs / "access_log.log"
    with our_callers(server) as seen, others(server) as foreign:
        fill_disk(server)
        size = access.stat().st_size
        go_on(seen, 300)
        go_on(foreign, 100)
    assert access.stat().st_size == size
    seen.assert_whole()
    foreign.assert_whole()
    kill_front_end(server)  # for it stays without a log


@pytest.mark.parametrize("end", [kill_front_end, Server.stop], ids=["killed", "SIGTERM"])
def test_the_server_goes_away_and_comes_back(
    end: Callable[[Server], None], store: Path, config: Path, server: Server
) -> None:
    with our_callers(server) as seen:
        go_on(seen)
        end(server)
        again = start(read_config(config), store)
        go_on(seen)
    seen.assert_whole()
    assert Versions(again).one("tiny").ready == 2


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes], bool]] = {
    "damaged": ("model/model.safetensors", lambda old: old[:-1] + bytes([old[-1] ^ 1]), False),
    "of another architecture": ("model/config.json", partial(changed, model_type="roberta"), True),
    "out of labels": ("model/config.json", partial(changed, id2label={"0": "a", "1": "b"}), True),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_archive_changes_nothing(
    kind: str, archives: list[Path], store: Path, server: Server, tmp_path: Path
) -> None:
    member, change, unnoticed = BROKEN[kind]
    broken = Path(shutil.copy(archives[1], tmp_path))
    with zipfile.ZipFile(broken) as whole:
        content = whole.read(member)
    spoil(broken, member, change(content), unnoticed=unnoticed)
    with our_callers(server) as seen:
        with pytest.raises(BertserveError) as error:
            rollout(server, broken, watch=0)
        go_on(seen)
    seen.assert_whole()
    assert set(seen.answers) == {"1.0"}
    assert [each.version for each in Versions(server).all("tiny")] == ["1.0"]
    assert [path.name for path in store.glob("*.mar")] == ["tiny-1.0.mar"]
    assert "\n" not in str(error.value)


def test_memory_of_a_gpu_runs_out(archives: list[Path], server: Server, tmp_path: Path) -> None:
    """Simulated: a version whose micro-batches of more than 60 tokens find no memory."""
    scarce = Path(shutil.copy(archives[1], tmp_path))
    with zipfile.ZipFile(scarce) as whole:
        code = whole.read("handler/engine/classifier.py").decode()
    flag = tmp_path / "scarce"
    begin = '"""Logits of one micro-batch, on the device."""\n'
    assert begin in code
    fault = (
        f"        import os; scarce = os.path.exists({str(flag)!r})\n"
        "        if scarce and sum(len(each.input_ids) for each in encodings) > 60:\n"
        '            raise torch.OutOfMemoryError("CUDA out of memory")\n'
    )
    code = code.replace(begin, begin + fault)
    spoil(scarce, "handler/engine/classifier.py", code.encode(), unnoticed=True)
    versions = Versions(server)
    versions.register(scarce)
    flag.touch()
    texts = [" ".join(tiny.WORDS[start : start + 30]) for start in range(20)]
    with our_callers(server) as seen, server.client("tiny", version="2.0") as client:
        together = client.classify(texts)
        alone = [client.classify(text) for text in texts]
        go_on(seen)
    seen.assert_whole()
    for found, expected in zip(together, alone, strict=True):
        assert isinstance(found, Prediction)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=0.02)
    address = server.addresses.metrics
    wait_until(lambda: Metrics(address).total("bertserve_out_of_memory_total", version="2.0"))
    versions.unregister("tiny", "2.0")

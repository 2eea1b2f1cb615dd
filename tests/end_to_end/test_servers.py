"""Starting, finding and stopping servers; each way to fail is one sentence and leaves nothing running."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

import tiny
from bertserve.clients.keys import bearer
from bertserve.errors import NotRunning, ServerError
from bertserve.serving.config import read_config
from bertserve.serving.server import Server, find
from bertserve.serving.starting import start
from bertserve.serving.state import state_directory
from commands import run
from serving import PATIENCE, Served, environment, wait_until, worker_processes, write_config

Start = Callable[..., Server]


@pytest.fixture
def store(archives: list[Path], tmp_path: Path) -> Path:
    """A model store of one archive."""
    (tmp_path / "store").mkdir()
    shutil.copy(archives[0], tmp_path / "store")
    return tmp_path / "store"


class TestFailures:
    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, tmp_path: Path) -> object:
        folder = state_directory(tmp_path / "config.properties").parent

        def left() -> set[Path]:
            return {*folder.glob("*/server.json"), *folder.glob("*/key_file.json")}

        workers, files = worker_processes(), left()
        yield
        assert not worker_processes() - workers
        assert left() <= files

    def test_an_empty_store(self, tmp_path: Path) -> None:
        with pytest.raises(ServerError, match="holds no archive; build one"):
            start(read_config(write_config(tmp_path)), tmp_path)

    def test_a_port_that_is_taken(self, store: Path, tmp_path: Path) -> None:
        config = read_config(write_config(tmp_path))
        with socket.socket() as taken:
            taken.bind(config.ports()["metrics_address"])
            taken.listen()
            with pytest.raises(ServerError, match="port .* cannot be used .*metrics_address"):
                start(config, store)

    def test_a_second_server_with_the_same_configuration(self, served: Served) -> None:
        with pytest.raises(ServerError, match="runs already; `bertserve stop`"):
            start(read_config(served.config))

    def test_no_server(self, tmp_path: Path) -> None:
        with pytest.raises(NotRunning, match="start one with `bertserve serve`"):
            find(tmp_path / "config.properties")


def test_an_expired_key_is_renewed(store: Path, tmp_path: Path, start_another: Start) -> None:
    config = write_config(tmp_path, token_expiration_min="0.1")
    server = start_another(store, config)
    url = f"{server.addresses.inference}/predictions/tiny"

    def expired(key: str | None) -> bool:
        answer = httpx.post(url, content=b"good", headers=bearer(key), timeout=PATIENCE)
        return answer.status_code != 200

    for _ in range(2):
        key = server.key("inference")
        assert not expired(key)
        wait_until(partial(expired, key))
    assert [model["state"] for model in server.status()["models"]] == ["READY"]


def test_without_tokens_there_is_no_key(store: Path, tmp_path: Path, start_another: Start) -> None:
    server = start_another(store, write_config(tmp_path, disable_token_authorization="true"))
    assert server.key("inference") is None
    assert server.status()["key_file"] is None


# first lines of requests: an address with quotes, a whole URL, none, and none of HTTP
STRANGE = [
    b'POST /predictions/tiny/"MYSECRET\\"\x01 HTTP/1.1',
    b"POST http://MYSECRET/predictions/tiny?MYSECRET HTTP/1.1",
    b'P"O\\ST /predictions/tiny HTTP/1.1',
    b"POST MYSECRET HTTP/1.1",
    b"MYSECRET",
]


def test_no_text_of_a_caller_is_in_any_log(store: Path, start_another: Start) -> None:
    server = start_another(store)
    base = f"{server.addresses.inference}/predictions/tiny"
    key = bearer(server.key("inference"))
    form = "application/x-www-form-urlencoded"
    requests = [
        (base, b"MYSECRET", "text/plain"),
        (base, b'{"text": "MYSECRET", "MYSECRET": 1}', "application/json"),
        (base, b"\xffMYSECRET", "application/json"),
        (base, b"data=MYSECRET 100%sure", form),
        (base, b"MYSECRET", "text/MYSECRET"),
        (f"{base}?text=MYSECRET", b"MYSECRET", "text/plain"),
        (base.replace("predictions", "explanations"), b"MYSECRET", "text/plain"),
        (base, b'{"text": "MYSECRET", "explain": true, "label": "MYSECRET"}', "application/json"),
        (f"{base}/1.0/MYSECRET%0d%00x", b"MYSECRET", "text/plain"),
        (f"{server.addresses.inference}/a/b/c/MYSECRET", b"MYSECRET", "text/plain"),
    ]
    for url, body, media_type in requests:
        headers = {**key, "Content-Type": media_type, "X": "MYSECRET"}
        httpx.post(url, content=body, headers=headers, timeout=PATIENCE)
    address = httpx.URL(base)
    for line in STRANGE:
        with socket.create_connection((address.host, address.port or 0)) as connection:
            connection.sendall(line + b"\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):  # as TorchServe closes after errors
                while connection.recv(4096):
                    pass
    server.stop()  # writes out what was buffered
    requested, *others = (
        [json.loads(line) for line in (server.logs / f"{name}.log").read_text().splitlines()]
        for name in ("access_log", "model_log", "ts_log")
    )
    assert all(event["message"] for events in others for event in events)
    assert len(requested) >= len(requests) + len(STRANGE)
    assert all(isinstance(event["status"], int) for event in requested)
    logs = [path for path in server.logs.rglob("*") if path.is_file()]
    assert "/predictions/tiny" in (server.logs / "access_log.log").read_text()
    assert [path.name for path in logs if b"MYSECRET" in path.read_bytes()] == []
    assert [
        path.name for path in logs if key["Authorization"].encode()[7:] in path.read_bytes()
    ] == []


def test_a_configuration_of_its_own_is_not_that_of_the_only_server(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find() == served.server
    write_config(tmp_path)
    with pytest.raises(NotRunning):
        find()


def test_a_killed_worker_comes_back(served: Served) -> None:
    victim = next(
        worker["pid"]
        for model in served.server.status()["models"]
        if model["name"] == "tiny"
        for worker in model["workers"]
    )
    psutil.Process(victim).kill()
    wait_until(
        lambda: (
            victim not in served.worker_pids()
            and all(model["state"] == "READY" for model in served.server.status()["models"])
        )
    )
    answer = served.post(b'{"text": "good film"}').json()
    assert set(answer) == set(tiny.LABELS)


@pytest.fixture
def foreground(store: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Server]]:
    """`bertserve serve --foreground`, and its server, which is ready."""
    config = write_config(tmp_path)
    command = [sys.executable, "-m", "bertserve", "serve", "--foreground", "--json"]
    command += ["--config", str(config), "--model-store", str(store)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = ""
        while not printed.endswith("\n}\n"):  # it prints its status when it is ready
            line = process.stdout.readline()
            assert line, printed
            printed += line
        server = find(config)
        assert json.loads(printed)["pid"] == server.pid
        family = psutil.Process(server.pid).children(recursive=True)
        yield process, server
        process.terminate()  # where the test failed; one that has ended does not mind
    assert server.process() is None
    assert not any(child.is_running() for child in family)
    assert not server.key_file.exists()


def test_in_the_foreground_signals_are_passed_on(
    foreground: tuple[subprocess.Popen[str], Server],
) -> None:
    process, _ = foreground
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=PATIENCE) == 0


def test_in_the_foreground_sigterm_loses_nothing_of_who_looks_whether_it_is_ready(
    foreground: tuple[subprocess.Popen[str], Server],
) -> None:
    process, server = foreground
    headers = {"Content-Type": "application/json", **bearer(server.key("inference"))}
    answers: Counter[int] = Counter()

    def ask() -> None:
        with httpx.Client(timeout=PATIENCE, headers=headers) as http:
            while True:
                try:
                    is_ready = http.get(f"{server.addresses.supervisor}/ready").is_success
                except httpx.TransportError:  # it has ended by now
                    return
                if is_ready:
                    url = f"{server.addresses.inference}/predictions/tiny"
                    answers[http.post(url, content=b'{"text": "good film"}').status_code] += 1

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            wait_until(lambda: answers[200] > 100)
        finally:
            process.send_signal(signal.SIGTERM)
        for each in asking:
            each.result()
    assert process.wait(timeout=PATIENCE) == 0
    assert set(answers) == {200}


def test_in_the_foreground_sigterm_drains_from_the_moment_it_is_ready(
    store: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path)
    command = [sys.executable, "-m", "bertserve", "serve", "--foreground", "--json"]
    command += ["--config", str(config), "--model-store", str(store)]
    url = f"{read_config(config).supervisor}/ready"

    def is_ready() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(is_ready)
        finally:
            process.terminate()
        assert process.wait(timeout=PATIENCE) == 0


def test_who_drains_it_is_told_when_all_is_answered(
    foreground: tuple[subprocess.Popen[str], Server],
) -> None:
    process, server = foreground
    done = run("drain", "--config", server.addresses.path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "drained\n", "")
    answer = httpx.get(f"{server.addresses.supervisor}/ready")
    assert (answer.status_code, answer.json()["missing"]) == (503, ["the server is being drained"])
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=PATIENCE) == 0

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import psutil
import pytest

from bertserve.errors import NotRunning, ServerError
from bertserve.serving import server as servers
from bertserve.serving.config import PACKAGED, read_config
from bertserve.serving.ports import with_supervisor
from bertserve.serving.server import Server, find, known_addresses, supervised
from bertserve.serving.starting import _utf8_locale, start
from bertserve.serving.state import alone, state_directory
from bertserve.system import make_scratch
from commands import run
from serving import free_ports, http_server, wait_until


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "bertserve"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.properties"
    path.write_text("")
    return path


def write_state(config: Path, pid: int, created: float) -> Server:
    directory = state_directory(config)
    directory.mkdir(parents=True)
    server = Server(
        pid,
        created,
        read_config(config),
        str(directory / "scratch"),
        str(directory),
        str(directory),
    )
    (directory / "server.json").write_text(json.dumps(asdict(server)))
    return server


def test_each_configuration_has_a_state_of_its_own(tmp_path: Path, states: Path) -> None:
    one, other = state_directory(tmp_path / "a" / "c"), state_directory(tmp_path / "b" / "c")
    assert one != other
    assert one.parent == other.parent == states
    assert state_directory(PACKAGED).name.startswith("default-")


def test_a_port_of_the_supervisor_that_nobody_chose_is_a_free_one(config: Path) -> None:
    wanted = read_config(config)
    assert wanted.supervisor == "http://127.0.0.1:8083"
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # another server may have it
            taken.bind(("127.0.0.1", 8083))
        found = with_supervisor(wanted)
    assert found.ports()["supervisor_address"][1] != 8083
    config.write_text("supervisor_address=http://127.0.0.1:8083")
    assert with_supervisor(read_config(config)).supervisor == wanted.supervisor


def test_a_server_is_found_by_its_process(config: Path) -> None:
    this = psutil.Process()
    server = write_state(config, this.pid, this.create_time())
    assert find(config) == server


def test_a_server_of_a_release_without_a_supervisor_is_found(config: Path) -> None:
    this = psutil.Process()
    server = write_state(config, this.pid, this.create_time())
    state = asdict(server)
    del state["supervisor_pid"], state["supervisor_created"]
    for name in ("supervisor", "supervisor_host", "supervisor_fixed", "envelope"):
        del state["addresses"][name]
    (Path(server.directory) / "server.json").write_text(json.dumps(state))
    found = find(config)
    assert (found.pid, found.supervisor()) == (server.pid, None)


def test_a_server_that_does_not_answer_is_told(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_ANSWER_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are taken, and no more
        config.write_text(f"management_address=http://127.0.0.1:{silent.getsockname()[1]}")
        this = psutil.Process()
        server = write_state(config, this.pid, this.create_time())
        with pytest.raises(ServerError, match="runs, process .*, and does not answer; look into"):
            server.status()


def test_another_process_with_its_pid_is_not_taken_for_it(config: Path) -> None:
    server = write_state(config, os.getpid(), psutil.Process().create_time() - 3600)
    assert server.process() is None
    with pytest.raises(NotRunning):
        find(config)
    server.stop()  # and is not ended in its place
    assert not (Path(server.directory) / "server.json").exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": 1}'])
def test_a_state_that_cannot_be_read_is_no_server(config: Path, content: str) -> None:
    directory = state_directory(config)
    directory.mkdir(parents=True)
    (directory / "server.json").write_text(content)
    with pytest.raises(NotRunning):
        find(config)


def test_only_one_at_a_time_starts_a_server(config: Path) -> None:
    directory = state_directory(config)
    directory.mkdir(parents=True)
    with alone(directory / "lock", ""), pytest.raises(ServerError, match="another .* is starting"):
        start(read_config(config))


def test_a_server_that_cannot_be_launched_says_why(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "support-1.0.mar", "w") as archive:
        manifest = {"model": {"modelName": "support", "modelVersion": "1.0"}}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "no-java"))
    monkeypatch.setattr("bertserve.serving.starting.check_ports", lambda _: None)
    with pytest.raises(ServerError, match="TorchServe does not start: java not found"):
        start(read_config(config), tmp_path)
    assert not (state_directory(config) / "server.json").exists()


@pytest.fixture(scope="module")
def nobody() -> list[str]:
    """How Python is run as a user who has no entry in passwd."""
    command = ["setpriv", "--reuid", "12345", "--clear-groups", sys.executable]
    if subprocess.run([*command, "-c", "import bertserve.cli"], check=False, cwd="/").returncode:
        pytest.skip("nobody cannot be another user here, or read this checkout")
    return command


@pytest.mark.parametrize(
    ("command", "home"),
    [
        *(("status", None), ("stop", None), ("serve", None)),
        *(("serve", "/nonexistent"), ("serve", "/proc"), ("stop", "/nonexistent")),
    ],
)
def test_a_user_without_a_home_is_told_what_to_do(
    command: str, home: str | None, config: Path, nobody: list[str]
) -> None:
    """As containers run it, on OpenShift say."""
    without = ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in without}
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        own = shutil.copy(config, folder)
        more = ["--model-store", folder] if command == "serve" else []
        done = subprocess.run(
            [*nobody, "-m", "bertserve", command, "--config", own, *more],
            env={**environment, **({"HOME": home} if home else {})},
            cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    if home is None or command == "serve":
        assert "set XDG_STATE_HOME" in done.stderr


def test_java_names_files_in_utf_8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert _utf8_locale() == {"LC_ALL": "C.UTF-8"}
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setattr("locale.nl_langinfo", lambda _: "UTF-8")
    assert _utf8_locale() == {}


def test_addresses_are_those_that_a_server_was_started_with(config: Path) -> None:
    """Whether or not its process can be seen: it may be in another container."""
    config.write_text("inference_address=http://127.0.0.1:1234")
    key_file = state_directory(config) / "key_file.json"
    assert known_addresses(config) == (read_config(config), key_file)
    server = write_state(config, 1, 0.0)
    config.write_text("inference_address=http://127.0.0.1:5678")
    assert known_addresses(config) == (server.addresses, key_file)
    assert server.addresses.inference.endswith(":1234")


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_server_is_drained_by_its_supervisor(waiting: int, config: Path) -> None:
    class Drained(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/drain"
            self.send_response(503 if waiting else 200)
            self.end_headers()
            self.wfile.write(
                json.dumps({"drained": not waiting, "waiting": waiting, "busy": 0}).encode()
            )

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with http_server(Drained) as url:
        config.write_text(f"supervisor_address={url}")
        server = write_state(config, os.getpid(), psutil.Process().create_time())
        assert server.drain() == {"waiting": waiting, "busy": 0}
        done = run("drain", "--config", config)
        as_json = run("drain", "--config", config, "--json")
    assert done.returncode == as_json.returncode == (1 if waiting else 0)
    assert json.loads(as_json.stdout) == {"drained": not waiting, "waiting": waiting, "busy": 0}
    if waiting:
        assert "the server is not drained: 2 requests wait, 0 workers are at a batch" in done.stderr
    else:
        assert done.stdout == "drained\n"
    with pytest.raises(ServerError, match="supervisor does not answer at .*; look at"):
        server.drain()


def test_another_container_does_not_sweep_up_what_a_server_uses(
    config: Path, tmp_path: Path
) -> None:
    """It cannot see the server's process; the supervisor holds a lock."""
    scratch = make_scratch("server", tmp_path)
    os.utime(scratch, (0, 0))
    this = psutil.Process()
    server = replace(write_state(config, this.pid, this.create_time()), scratch=str(scratch))
    server.logs.mkdir()
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    server = replace(server, addresses=replace(server.addresses, supervisor=address))
    server = supervised(server)
    wait_until(lambda: _answers(f"{address}/live"))
    make_scratch("proxy", tmp_path)
    assert scratch.exists()
    process = server.supervisor()
    assert process
    process.kill()
    process.wait()
    make_scratch("proxy", tmp_path)
    assert not scratch.exists()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False

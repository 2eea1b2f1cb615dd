"""A TorchServe that runs: found, asked, watched and stopped.

server = find()
server.client("support").classify("Where is my parcel?")
server.stop()
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil

from ..clients import Client, GrpcClient, Kind, Model, StoredCanary, fresh_key
from ..errors import ConfigError, NotRunning, ServerError, Unavailable
from ..system import (
    ENDINGS,
    end_family,
)
from .config import PACKAGED, Config, read_config
from .state import forget, state_directory, states
from .workers import Judge, judge, read_written_off, truth

HEARTBEATS = "heartbeats"  # in the scratch folder
STOP_TIMEOUT = 30.0
DRAINING = 20.0  # seconds at most
_KEY_FILE = "key_file.json"  # in the state folder
_ANSWER_TIMEOUT = 5.0  # for what is answered at once, unless something hangs
_POLL = 0.2
_LONGEST_PAUSE = 30.0

# those that were started here and outlive this process, unless they are stopped
_supervisors: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Server:
    """A TorchServe that was started here; `pid` and `created` name its process for good.

    `supervisor_pid` and `supervisor_created` name that of its supervisor.
    """

    pid: int
    created: float
    addresses: Config
    scratch: str
    directory: str
    model_store: str
    supervisor_pid: int = 0
    supervisor_created: float = 0.0

    @property
    def key_file(self) -> Path:
        """The tokens that it wants to see."""
        return Path(self.directory) / _KEY_FILE

    @property
    def logs(self) -> Path:
        """The folder of its logs."""
        return Path(self.directory) / "logs"

    def key(self, kind: Kind, refused: str | None = None) -> str | None:
        """A valid key of a kind, not the refused one, renewed if need be; None where there are none."""
        addresses = self.addresses
        if not addresses.tokens:
            return None
        return fresh_key(self.key_file, kind, addresses.management, refused)

    def client(self, model: str = "", **options: Any) -> Client:
        """A client of one of its models, over HTTP; without a name it can only list the models.

        `options` are further arguments of Client; a version of them wins over the model's canary.
        """
        addresses = self.addresses
        return Client(
            model,
            version=options.pop("version", None) or self._canary(model),
            url=addresses.inference,
            management_url=addresses.management,
            key=self.key,
            **options,
        )

    def grpc_client(self, model: str, **options: Any) -> GrpcClient:
        """A client of one of its models, over gRPC; `options` are further arguments of GrpcClient."""
        addresses = self.addresses
        return GrpcClient(
            model,
            version=options.pop("version", None) or self._canary(model),
            target=addresses.grpc_inference,
            management_target=addresses.grpc_management,
            key=self.key,
            **options,
        )

    def _canary(self, model: str) -> StoredCanary:
        return StoredCanary(Path(self.directory), model)

    def process(self) -> psutil.Process | None:
        """Its process, while it lives."""
        return _process(self.pid, self.created)

    def supervisor(self) -> psutil.Process | None:
        """The process of its supervisor, while that lives."""
        return _process(self.supervisor_pid, self.supervisor_created)

    def judge(self) -> Judge:
        """What says how its workers really are."""
        return judge(Path(self.scratch) / HEARTBEATS)

    def models(self, **options: Any) -> list[Model]:
        """Every version that it serves, with what its workers really are; options are a client's."""
        described = self._described(**options)
        return truth(described, self.judge(), read_written_off(Path(self.directory)))

    def described(self) -> list[Model]:
        """The same in TorchServe's words."""
        return self._described()

    def _described(self, **options: Any) -> list[Model]:
        with self.client(**options) as client:
            return client.models()

    def status(self) -> dict[str, Any]:
        """All that a program needs to use it: addresses, key file, logs, models.

        ServerError where TorchServe's process is there and does not answer.
        """
        addresses = self.addresses
        try:
            described = self._described(timeout=_ANSWER_TIMEOUT, deadline=0)
        except Unavailable as error:
            raise ServerError(
                f"TorchServe runs, process {self.pid}, and does not answer; look into {self.logs}, or "
                "end it with `bertserve stop`"
            ) from error
        models = truth(described, self.judge(), read_written_off(Path(self.directory)))
        return {
            "running": True,
            "pid": self.pid,
            "inference": addresses.inference,
            "management": addresses.management,
            "metrics": addresses.metrics,
            "health": addresses.supervisor if self.supervisor() else None,
            "grpc_inference": addresses.grpc_inference,
            "grpc_management": addresses.grpc_management,
            "key_file": str(self.key_file) if addresses.tokens else None,
            "logs": str(self.logs),
            "models": [
                {
                    "name": model.name,
                    "version": model.version,
                    "default": model.default,
                    "state": model.state,
                    "workers": [asdict(worker) for worker in model.workers],
                }
                for model in models
            ],
        }

    def drain(self) -> dict[str, int]:
        """Have it be ready no more, and wait until nothing waits or is under way.

        Returns what is left where that takes too long: requests that wait, and workers that are at a
        batch. ServerError where nobody knows, since it has no supervisor.
        """
        url = f"{self.addresses.supervisor}/drain"
        try:
            answer = httpx.post(url, timeout=DRAINING + _ANSWER_TIMEOUT, trust_env=False).json()
            return {"waiting": int(answer["waiting"]), "busy": int(answer["busy"])}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
            raise ServerError(
                f"the server's supervisor does not answer at {url} ({type(error).__name__}); look at "
                "`bertserve status`, or end the server with `bertserve stop`"
            ) from error

    def stop(self) -> None:
        """End it and its workers, and take away what only a running server needs."""
        supervisor = self.supervisor()
        if supervisor is not None:  # first, for it would bring the workers back
            supervisor.kill()
            psutil.wait_procs([supervisor], timeout=STOP_TIMEOUT)
        process = self.process()
        if process is not None:
            end_family(process)
        forget(Path(self.directory))

    def wait(self) -> None:
        """Stay until it ends, and see that it is supervised meanwhile."""
        server, pause = self, _POLL
        while server.process() is not None:
            if server.supervisor() is None:
                time.sleep(
                    pause
                )  # longer each time, for one that cannot start would be started for ever
                pause = min(2 * pause, _LONGEST_PAUSE)
                server = supervised(server)
            time.sleep(_POLL)


def find(config: Path | None = None) -> Server:
    """The running server of a configuration; by default that of `./config.properties`.

    Where there is no such file it is the one of the package's configuration, or the only one there is.
    """
    if config is not None:
        server = running_in(state_directory(config))
    elif Path("config.properties").exists():
        server = running_in(state_directory(Path("config.properties")))
    else:
        server = running_in(state_directory(PACKAGED)) or _only_one()
    if server is None:
        raise NotRunning("no server is running; start one with `bertserve serve`")
    return server


def known_addresses(config: Path) -> tuple[Config, Path]:
    """Addresses and key file of the server of a configuration, whose process may be in another container.

    As the server said when it was started; as the configuration says where it was not yet.
    """
    directory = state_directory(config)
    known = read_state(directory)
    return known.addresses if known else read_config(config), directory / _KEY_FILE


def read_state(directory: Path) -> Server | None:
    """The server that a state folder tells of, whether it runs or not."""
    try:
        state = json.loads((directory / "server.json").read_bytes())
        return Server(**{**state, "addresses": Config(**state["addresses"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def running_in(directory: Path) -> Server | None:
    """The server that a state folder tells of, while it runs."""
    server = read_state(directory)
    return server if server and server.process() else None


def _process(pid: int, created: float) -> psutil.Process | None:
    """A process, while it lives, and is not another one that got its number."""
    if not pid:
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        if alive and abs(process.create_time() - created) < 1:
            return process
    return None


def _only_one() -> Server | None:
    servers = [server for path in states().glob("*") if (server := running_in(path))]
    if len(servers) > 1:
        configs = ", ".join(server.addresses.path for server in servers)
        raise ConfigError(f"several servers are running; choose one with --config: {configs}")
    return servers[0] if servers else None


def supervised(server: Server) -> Server:
    """The server with a supervisor, which is started; it finds the server in the state folder."""
    directory = Path(server.directory)
    (directory / "server.json").write_text(json.dumps(asdict(server)))
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); "
        "from bertserve.serving.supervisor import main; main()"
    )
    with (server.logs / "supervisor.log").open("a") as log:
        started = subprocess.Popen(
            [sys.executable, "-c", code, str(directory)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _supervisors.append(started)
    created = psutil.Process(started.pid).create_time()
    server = replace(server, supervisor_pid=started.pid, supervisor_created=created)
    (directory / "server.json").write_text(json.dumps(asdict(server)))
    return server


def pass_signals_on(server: Server) -> None:
    """Have signals end the server, for a process that stays in the foreground.

    After SIGTERM it is drained first; a second one, SIGINT or SIGHUP end it at once.
    """
    drained: list[threading.Thread] = []

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGTERM and not drained:
            drained.append(threading.Thread(target=_drain_and_end, args=[server], daemon=True))
            drained[0].start()
        else:
            _end(server)

    for ending in ENDINGS:
        if signal.getsignal(ending) is not signal.SIG_IGN:  # nohup
            signal.signal(ending, end)


def _drain_and_end(server: Server) -> None:
    with contextlib.suppress(ServerError):  # nobody knows what is under way
        server.drain()
    _end(server)


def _end(server: Server) -> None:
    if process := server.process():
        process.send_signal(signal.SIGTERM)

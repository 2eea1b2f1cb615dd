"""A real nginx with the configuration of deploy/nginx, in front of instances of TorchServe."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import grpc
import httpx
import psutil
import trustme

from bertserve import Client, GrpcClient
from bertserve.clients.keys import bearer
from bertserve.serving.config import Config
from serving import PATIENCE, ROOT, free_ports, http_server, wait_until

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
TOKEN = "5f0c" * 16
NATIVE = b'{"text": "good film", "details": true}'


@dataclass(frozen=True)
class Proxy:
    """A running nginx, and the certificate authority that its certificate is of."""

    address: str
    authority: bytes
    site: Path

    @property
    def logs(self) -> Path:
        return self.site / "logs"

    def reload(self) -> None:
        """Let it read its configuration anew; returns when the workers of the former one have ended.

        As they end they close connections that wait for a request, and one sent just then is lost.
        """
        former = self.begin_to_reload()
        _, alive = psutil.wait_procs(former, PATIENCE)
        assert not alive

    def begin_to_reload(self) -> list[psutil.Process]:
        """Let it read its configuration anew; gives the workers of the former one."""
        master = psutil.Process(int((self.site / "nginx.pid").read_text()))
        former = master.children()
        master.send_signal(signal.SIGHUP)
        return former

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority.decode())

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority)

    def http(self, token: str | None = TOKEN) -> httpx.Client:
        """A client as anybody has it: it tries nothing twice."""
        return httpx.Client(
            base_url=f"https://{self.address}",
            verify=self.trust,
            headers={"Content-Type": "application/json", **bearer(token)},
            timeout=PATIENCE,
        )

    def client(self, model: str = "tiny", token: str = TOKEN, **options: Any) -> Client:
        url = f"https://{self.address}"
        return Client(model, url=url, key=token, verify=self.trust, **options)

    def grpc_client(self, model: str = "tiny", token: str = TOKEN, **options: Any) -> GrpcClient:
        return GrpcClient(
            model, target=self.address, key=token, credentials=self.credentials, **options
        )

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return [json.loads(line) for line in (self.logs / "access.log").read_text().splitlines()]

    def paths(self) -> Counter[str]:
        """How often it has logged each path so far; it logs a request after it has answered it."""
        return Counter(line["path"] for line in self.lines())


def check_strangers(front: Proxy, least: int) -> None:
    """Requests of other paths, at least so many of which are logged soon, have reached no server."""
    wait_until(lambda: front.paths()[""] >= least)
    assert {line["instance"] for line in front.lines() if not line["path"]} == {""}


def change(file: Path, *changes: tuple[str, str]) -> None:
    """Edit a file of the site; what is to be changed has to be there."""
    text = file.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)


@contextmanager
def load(front: Proxy, anybody_s: int) -> Iterator[Callable[[], None]]:
    """Our clients and others ask without pause, none may fail; gives what waits for answers to each."""
    http = front.http()
    clients = [make(timeout=PATIENCE) for make in (*[front.client] * 6, *[front.grpc_client] * 2)]

    def post() -> None:
        response = http.post("/predictions/tiny", content=NATIVE)
        assert response.status_code == 200, (response.status_code, response.text)

    asks: list[Callable[[], object]] = [partial(each.classify, "good film") for each in clients]
    asks += [post] * anybody_s
    answered = [0] * len(asks)
    failures: list[object] = []
    ended = threading.Event()

    def caller(number: int) -> None:
        while not ended.is_set():
            try:
                asks[number]()
                answered[number] += 1
            except Exception as error:
                failures.append(error)

    def each_is_answered() -> None:
        before = answered.copy()
        wait_until(lambda: all(now > then + 8 for now, then in zip(answered, before, strict=True)))

    threads = [threading.Thread(target=caller, args=[number]) for number in range(len(asks))]
    with ExitStack() as stack:
        stack.enter_context(http)
        for client in clients:
            stack.enter_context(client)
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(ended.set)
        each_is_answered()
        yield each_is_answered
    assert failures == []


@contextmanager
def proxy(folder: Path, instances: list[Config], *changes: tuple[str, str]) -> Iterator[Proxy]:
    """deploy/nginx as a site has it: its own paths, ports, certificate, token and instances."""
    site = Path(shutil.copytree(ROOT / "deploy" / "nginx", folder / "nginx"))
    for name in ("logs", "tls"):
        (site / name).mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(site / "tls" / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(site / "tls" / "certificate.pem")
    (port,) = free_ports(1)
    modules = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    temporary = "".join(f"{module}_temp_path {site}/{module};\n" for module in modules)
    change(site / "listen.conf", ("listen 443 ", f"listen 127.0.0.1:{port} "))
    logs = ("/var/log/nginx", f"{site}/logs")
    change(site / "process.conf", ("/run/nginx.pid", f"{site}/nginx.pid"), logs)
    change(
        site / "site.conf",
        logs,
        ("access_log", f"{temporary}access_log"),
        *(changes or [("rate=200r/s", "rate=9000r/s"), ("rate=500r/s", "rate=9000r/s")]),
    )
    with (site / "tokens.map").open("a") as tokens:
        tokens.write(f'"Bearer {TOKEN}" tests;\n')
    for usual, setting in (
        ("8080", "inference_address"),
        ("7070", "grpc_inference_port"),
        ("8083", "supervisor_address"),
    ):
        lines = re.findall(rf".*127\.0\.0\.1:{usual} .*\n", (site / "upstreams.conf").read_text())
        for line in lines:
            own = (line.replace(usual, str(each.ports()[setting][1])) for each in instances)
            change(site / "upstreams.conf", (line, "".join(own)))
    assert NGINX
    process = subprocess.Popen(
        [NGINX, "-p", str(site), "-c", str(site / "nginx.conf"), "-g", "daemon off;"]
    )
    try:
        running = Proxy(f"127.0.0.1:{port}", authority.cert_pem.bytes(), site)
        with running.http(token=None) as http:
            wait_until(lambda: process.poll() is None and _answers(http))
        yield running
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=PATIENCE)


@contextmanager
def slow_handshakes(address: str) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """An address that leads to another one, and holds TLS handshakes in the middle.

    Gives it, and two events: that the server has answered, and that the callers may go on.
    """
    answered, go_on = threading.Event(), threading.Event()
    host, _, port = address.rpartition(":")

    def pour(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # of a peer that has gone
            while piece := source.recv(2**16):
                sink.sendall(piece)
                answered.set()
            sink.shutdown(socket.SHUT_WR)

    class Connection(BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, int(port))) as server:
                server.sendall(self.request.recv(2**16))
                answers = threading.Thread(target=pour, args=[server, self.request])
                answers.start()
                go_on.wait(PATIENCE)
                pour(self.request, server)
                answers.join()

    with ThreadingTCPServer(("127.0.0.1", 0), Connection) as relay:
        thread = threading.Thread(target=relay.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{relay.server_address[1]}", answered, go_on
        finally:
            relay.shutdown()
            thread.join()


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/").status_code == 404
    except httpx.TransportError:
        return False


@contextmanager
def repeating(port: int = 0) -> Iterator[str]:
    """The URL of a server that answers with the names of the headers that came."""

    class Repeat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(sorted(name.lower() for name in self.headers)).encode())

        def log_message(self, *_: Any) -> None:
            """Keep the tests' output clean."""

    with http_server(Repeat, port) as url:
        yield url

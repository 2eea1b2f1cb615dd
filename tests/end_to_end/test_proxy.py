"""`bertserve proxy` beside a real TorchServe that asks for its own key, and beside what only listens."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
import trustme

import stubs
import tiny
from bertserve import Client, GrpcClient
from bertserve.clients.keys import bearer, fresh_key, read_key
from bertserve.errors import KeyRefused, Unavailable
from bertserve.serving.config import read_config
from bertserve.serving.server import Server
from bertserve.serving.starting import start
from bertserve.serving.state import make_writable, state_directory
from commands import run
from fakes import near
from proxied import NATIVE, NGINX, TOKEN
from serving import PATIENCE, environment, free_ports, http_server, wait_until, write_config

SHOP = "a1-._~+/b2=="
PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"

pytestmark = pytest.mark.skipif(
    NGINX is None, reason="nginx is missing; `scripts/tools nginx` installs it"
)


@dataclass(frozen=True)
class Proxy:
    """A running `bertserve proxy`, and where it is reached."""

    process: subprocess.Popen[bytes]
    http_address: str
    target: str
    tokens: Path
    log: Path
    said: Path
    scheme: str = "http"
    trust: Any = True

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.http_address}"

    def ask(self, token: str | None = TOKEN, path: str = "/predictions/tiny") -> httpx.Response:
        """One request on a connection of its own, by a client that tries nothing twice."""
        headers = {"Content-Type": "application/json", **bearer(token)}
        return httpx.post(
            self.url + path,
            content=NATIVE,
            headers=headers,
            timeout=PATIENCE,
            trust_env=False,
            verify=self.trust,
        )

    def client(self, token: str = TOKEN, **options: Any) -> Client:
        return Client("tiny", url=self.url, key=token, **options)

    def grpc_client(self, token: str = TOKEN, **options: Any) -> GrpcClient:
        return GrpcClient("tiny", target=self.target, key=token, **options)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def end(self) -> int:
        """End it as Kubernetes does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)

    def nginx(self) -> psutil.Process:
        (master,) = psutil.Process(self.process.pid).children()
        return master


@contextmanager
def proxy(folder: Path, config: Path, *options: str, **more: Any) -> Iterator[Proxy]:
    """The command as it runs in a pod, with one caller's token."""
    tokens = folder / "tokens"
    tokens.mkdir()
    (tokens / "tests").write_text(TOKEN)
    http, target = (f"127.0.0.1:{port}" for port in free_ports(2))
    command = [sys.executable, "-m", "bertserve", "proxy", "--config", str(config)]
    command += ["--tokens", str(tokens), "--http", http, "--grpc", target, *options]
    log, said = folder / "log", folder / "said"
    with log.open("wb") as output, said.open("wb") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment())
    running = Proxy(process, http, target, tokens, log, said, **more)
    try:
        wait_until(lambda: "may call" in said.read_text() or process.poll() is not None)
        assert process.poll() is None, said.read_text()
        yield running
    finally:
        if process.poll() is None:
            running.end()


@contextmanager
def asking(*asks: Callable[[], object]) -> Iterator[Callable[[], Counter[object]]]:
    """Ask without pause; gives what counts the answers so far, once each has got some more."""
    answers: list[Counter[object]] = [Counter() for _ in asks]
    ended = threading.Event()

    def caller(number: int) -> None:
        while not ended.is_set():
            try:
                answer = asks[number]()
            except (httpx.TransportError, Unavailable, KeyRefused) as error:
                answer = error
            answers[number][answer if isinstance(answer, int) else repr(answer)] += 1

    def so_far() -> Counter[object]:
        before = [
            each.total() if hasattr(each, "total") else sum(each.values()) for each in answers
        ]
        wait_until(
            lambda: all(
                sum(now.values()) > then + 4 for now, then in zip(answers, before, strict=True)
            )
        )
        return sum((each.copy() for each in answers), Counter())

    with ThreadPoolExecutor(len(asks)) as pool:
        try:
            for number in range(len(asks)):
                pool.submit(caller, number)
            yield so_far
        finally:
            ended.set()


@pytest.fixture(scope="module")
def store(archives: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    (store / archives[0].name).symlink_to(archives[0])
    return store


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def server(config: Path, store: Path) -> Iterator[Server]:
    """One that asks for its own key, as it comes."""
    server = start(read_config(config), store)
    assert server.addresses.tokens
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def front(server: Server, config: Path, tmp_path: Path) -> Iterator[Proxy]:  # noqa: ARG001
    with proxy(tmp_path, config) as running:
        wait_until(lambda: running.ask().status_code == 200)
        yield running


def test_answers_are_those_of_the_server(front: Proxy, server: Server) -> None:
    texts = list(tiny.TEXTS)
    with server.client("tiny") as direct:
        expected = [near(dict(each.probabilities)) for each in direct.classify(texts)]  # type: ignore[union-attr]
    for client in (front.client(), front.grpc_client()):
        with client:
            found = client.classify(texts)
            assert [dict(each.probabilities) for each in found] == expected  # type: ignore[union-attr]


def test_health_is_told_to_who_has_no_token(front: Proxy) -> None:
    for path, answer in (
        ("/v2/health/ready", {"ready": True}),
        ("/v2/health/live", {"live": True}),
        ("/ping", {"status": "Healthy"}),
    ):
        response = httpx.get(front.url + path, trust_env=False)
        assert (response.status_code, response.json()) == (200, answer)


def test_callers_have_tokens_of_their_own(front: Proxy, server: Server) -> None:
    key = server.key("inference")
    for token in (None, "wrong", TOKEN[:-1], key):
        response = front.ask(token)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "unauthorized"
        for client in (front.client(token or ""), front.grpc_client(token or "")):
            with client, pytest.raises(KeyRefused, match="missing or not known here"):
                client.classify("good film")
    wait_until(lambda: ("tests", 401) not in _callers(front) and ("", 401) in _callers(front))
    logged = front.log.read_text() + front.said.read_text()
    assert TOKEN not in logged
    assert key
    assert key not in logged


def _callers(front: Proxy) -> set[tuple[str, int]]:
    return {(line["caller"], line["status"]) for line in front.lines()}


def test_pages_of_other_sites_are_refused_whatever_the_name(front: Proxy) -> None:
    def ask(**headers: str) -> int:
        sent = {"Content-Type": "application/json", **bearer(TOKEN), **headers}
        url = f"{front.url}/predictions/tiny"
        return httpx.post(url, content=NATIVE, headers=sent, trust_env=False).status_code

    assert ask(Host="any.name") == 200
    assert ask(Host="any.name", Origin="http://any.name") == 200
    assert ask(Host="any.name", Origin="https://evil.test") == 403
    assert ask(Host="any.name", Origin="null") == 403


def test_with_names_others_are_refused(server: Server, config: Path, tmp_path: Path) -> None:
    assert server.process()
    with proxy(tmp_path, config, "--host", ".example.com") as front:
        for name, status in (("models.example.com", 200), ("example.com", 200), ("a.test", 403)):
            headers = {"Content-Type": "application/json", "Host": name, **bearer(TOKEN)}
            url = f"{front.url}/predictions/tiny"
            assert (
                httpx.post(url, content=NATIVE, headers=headers, timeout=PATIENCE).status_code
                == status
            )


def test_tokens_come_and_go_and_nobody_loses_a_request(front: Proxy) -> None:
    shop = front.tokens / "shop"
    with (
        front.client() as client,
        front.grpc_client() as by_grpc,
        asking(
            lambda: front.ask().status_code,
            lambda: front.ask().status_code,
            lambda: client.classify("good film") and 200,
            lambda: by_grpc.classify("good film") and 200,
        ) as so_far,
    ):
        assert front.ask(SHOP).status_code == 401
        shop.write_text(SHOP)
        wait_until(lambda: front.ask(SHOP).status_code == 200)
        so_far()
        shop.write_text(f"{SHOP[:-2]}X")
        wait_until(lambda: front.ask(f"{SHOP[:-2]}X").status_code == 200)
        wait_until(lambda: front.ask(SHOP).status_code == 401)
        shop.write_text('" evil; } "')  # is nobody's, and harms nobody else
        wait_until(lambda: f"{shop} holds no token" in front.said.read_text())
        wait_until(lambda: front.ask(f"{SHOP[:-2]}X").status_code == 401)
        shop.unlink()
        so_far()
        answers = so_far()
    assert set(answers) == {200}
    assert "may call: shop, tests" in front.said.read_text()
    wait_until(lambda: ("shop", 200) in _callers(front))


def test_a_server_comes_back_with_another_key(
    store: Path, tmp_path: Path, start_another: Callable[..., Server]
) -> None:
    """Callers are told to try again meanwhile, and never that their own token is wrong."""
    server = start_another(store)
    with (
        proxy(tmp_path, config := tmp_path / "config.properties") as front,
        front.client(deadline=PATIENCE) as client,
    ):
        wait_until(lambda: front.ask().status_code == 200)
        key = read_key(server.key_file, "inference")
        asks = (lambda: front.ask().status_code, lambda: client.classify("good film") and 200)
        with asking(*asks) as so_far:
            so_far()
            server.stop()
            wait_until(lambda: front.ask().status_code == 502)
            start_another(store, config)
            assert read_key(server.key_file, "inference") != key
            wait_until(lambda: front.ask().status_code == 200)
            so_far()
            answers = so_far()
        assert set(answers) == {200, 502}


def test_a_key_is_renewed_before_it_expires(
    store: Path, tmp_path: Path, start_another: Callable[..., Server]
) -> None:
    server = start_another(store, token_expiration_min="0.4")
    with (
        proxy(tmp_path, tmp_path / "config.properties") as front,
        front.grpc_client(deadline=PATIENCE) as client,
    ):
        wait_until(lambda: front.ask().status_code == 200)
        keys = {read_key(server.key_file, "inference")}
        asks = (lambda: front.ask().status_code, lambda: client.classify("good film") and 200)
        with asking(*asks) as so_far:
            while len(keys) < 3:
                so_far()
                keys.add(read_key(server.key_file, "inference"))
            wait_until(lambda: front.ask().status_code == 200)
            answers = so_far()
    assert answers[200]
    assert set(answers) <= {200, 502}


def test_over_grpc_a_key_that_the_server_refuses_is_not_the_caller_s(
    store: Path, tmp_path: Path, start_another: Callable[..., Server]
) -> None:
    """Somebody renews the server's key, and the proxy has not looked since."""
    server = start_another(store)
    metadata = [("authorization", f"Bearer {TOKEN}")]
    with (
        proxy(tmp_path, tmp_path / "config.properties") as front,
        grpc.insecure_channel(front.target) as channel,
        front.grpc_client(deadline=PATIENCE) as client,
    ):
        wait_until(lambda: front.ask().status_code == 200)
        with _stopped(front.process):  # nginx goes on
            key = read_key(server.key_file, "inference")
            assert fresh_key(server.key_file, "inference", server.addresses.management, key) != key
            for service, name in (
                (stubs.INFERENCE, "Predictions"),
                (stubs.INFERENCE, "Ping"),
                (stubs.OPEN_INFERENCE, "ModelInfer"),
            ):
                with pytest.raises(grpc.RpcError, match="try again") as raised:
                    stubs.method(channel, service, name)({}, metadata=metadata, timeout=PATIENCE)
                assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert client.classify("good film")


@contextmanager
def _stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class Fake:
    """What stands where a server would: it answers when it may, with what it was shown."""

    config: Path
    held: threading.Event
    came: threading.Event


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    held, came = threading.Event(), threading.Event()

    class Shown(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            came.set()
            assert held.wait(PATIENCE)
            with suppress(BrokenPipeError):  # who asked may have been ended
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(self.headers.get_all("Authorization")).encode())

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    def shown(_: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = context.invocation_metadata()
        return json.dumps([value for name, value in metadata if name == "authorization"]).encode()

    by_grpc = grpc.server(ThreadPoolExecutor(2))
    service, method = PREDICTIONS.strip("/").split("/")
    handlers: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(shown)}
    by_grpc.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = by_grpc.add_insecure_port("127.0.0.1:0")
    by_grpc.start()
    held.set()
    try:
        with http_server(Shown) as url:
            config = write_config(tmp_path, inference_address=url, grpc_inference_port=str(port))
            make_writable(state_directory(config))
            write_key(config, "the-key")
            yield Fake(config, held, came)
    finally:
        held.set()
        by_grpc.stop(None).wait()


def write_key(config: Path, key: str) -> None:
    entry = {"key": key, "expiration time": "2999-01-01T00:00:00.123456789Z"}
    keys = {"inference": entry, "management": entry, "API": {"key": key}}
    (state_directory(config) / "key_file.json").write_text(json.dumps(keys))


def test_the_server_sees_its_own_key_and_never_a_caller_s_token(fake: Fake, tmp_path: Path) -> None:
    with proxy(tmp_path, fake.config) as front, grpc.insecure_channel(front.target) as channel:
        call: Any = channel.unary_unary(PREDICTIONS)
        token = [("authorization", f"Bearer {TOKEN}")]

        def shown_by_grpc() -> list[str]:
            return json.loads(call(b"", metadata=token, timeout=PATIENCE))  # type: ignore[no-any-return]

        assert front.ask().json() == shown_by_grpc() == ["Bearer the-key"]
        write_key(fake.config, "another-key")
        wait_until(lambda: front.ask().json() == ["Bearer another-key"])
        wait_until(lambda: shown_by_grpc() == ["Bearer another-key"])


def test_it_listens_before_there_is_a_server(fake: Fake, tmp_path: Path) -> None:
    """For Kubernetes starts the server when the proxy runs."""
    key_file = state_directory(fake.config) / "key_file.json"
    key_file.unlink()
    with proxy(tmp_path, fake.config) as front, front.grpc_client(deadline=0) as client:
        response = front.ask()
        assert (response.status_code, response.headers["retry-after"]) == (502, "1")
        assert response.json()["error"]["code"] == "unavailable"
        with pytest.raises(Unavailable, match="no instance of the server"):
            client.classify("good film")
        assert not fake.came.is_set()
        write_key(fake.config, "the-key")
        wait_until(lambda: front.ask().status_code == 200)


def test_a_server_that_asks_for_no_key_gets_none(fake: Fake, tmp_path: Path) -> None:
    text = fake.config.read_text()
    fake.config.write_text(text.replace("authorization=false", "authorization=true"))
    (state_directory(fake.config) / "key_file.json").unlink()
    with proxy(tmp_path, fake.config) as front:
        assert front.ask().json() is None


def test_sigterm_lets_it_answer_what_it_was_asked(fake: Fake, tmp_path: Path) -> None:
    with proxy(tmp_path, fake.config) as front, ThreadPoolExecutor(1) as pool:
        fake.held.clear()
        under_way = pool.submit(front.ask)
        assert fake.came.wait(PATIENCE)
        front.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _is_refused(front))
        assert front.process.poll() is None
        fake.held.set()
        assert under_way.result(PATIENCE).status_code == 200
        assert front.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("signals", [[signal.SIGTERM] * 2, [signal.SIGINT], [signal.SIGHUP]])
def test_other_signals_end_it_at_once(
    signals: list[signal.Signals], fake: Fake, tmp_path: Path
) -> None:
    with proxy(tmp_path, fake.config) as front, ThreadPoolExecutor(1) as pool:
        fake.held.clear()
        under_way = pool.submit(front.ask)
        assert fake.came.wait(PATIENCE)
        for number in signals:
            front.process.send_signal(number)
            wait_until(lambda: _is_refused(front))
        assert front.process.wait(PATIENCE) == 0
        with pytest.raises(httpx.TransportError):
            under_way.result(PATIENCE)
        fake.held.set()


def _is_refused(front: Proxy) -> bool:
    try:
        front.ask(None)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        return False
    return False


def test_it_ends_with_nginx_and_nginx_with_it(fake: Fake, tmp_path: Path) -> None:
    with proxy(tmp_path, fake.config) as front:
        workers = front.nginx().children()
        assert workers
        front.nginx().kill()
        assert front.process.wait(PATIENCE) == 1
        assert "Error: nginx has ended by itself (-9)" in front.said.read_text()
        _, alive = psutil.wait_procs(workers, PATIENCE)
        assert not alive
    (tmp_path / "again").mkdir()
    with proxy(tmp_path / "again", fake.config) as front:
        family = [front.nginx(), *front.nginx().children()]
        front.process.kill()
        _, alive = psutil.wait_procs(family, PATIENCE)
        assert not alive


def test_a_certificate_is_shown_and_replaced(fake: Fake, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    first, second = trustme.CA(), trustme.CA()

    def write(authority: trustme.CA) -> None:
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(folder / "tls.key")
        certificate.cert_chain_pems[0].write_to_path(folder / "tls.crt")

    def trusting(authority: trustme.CA) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())

    write(first)
    options: dict[str, Any] = {"scheme": "https", "trust": trusting(first)}
    with proxy(tmp_path, fake.config, "--tls", str(folder), **options) as front:
        assert front.ask().status_code == 200
        credentials = grpc.ssl_channel_credentials(first.cert_pem.bytes())
        with grpc.secure_channel(front.target, credentials) as channel:
            call: Any = channel.unary_unary(PREDICTIONS)
            token = [("authorization", f"Bearer {TOKEN}")]
            assert json.loads(call(b"", metadata=token, timeout=PATIENCE)) == ["Bearer the-key"]
        (folder / "tls.crt").write_text("is being written")
        wait_until(lambda: "nginx refuses the certificate" in front.said.read_text())
        (front.tokens / "shop").write_text(SHOP)  # all else holds
        wait_until(lambda: front.ask(SHOP).status_code == 200)
        write(second)
        renewed = replace(front, trust=trusting(second))

        def is_renewed() -> bool:
            try:
                return renewed.ask().status_code == 200
            except httpx.ConnectError:
                return False

        wait_until(is_renewed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tokens", "nowhere"], "the folder of tokens, nowhere, cannot be read"),
        (["--tokens", ".", "--tls", "nowhere"], "nowhere/tls.crt cannot be read"),
        (["--tokens", ".", "--http", "8000"], "--http is '8000'; write it as HOST:PORT"),
        (["--tokens", ".", "--config", "nowhere"], "nowhere cannot be read"),
    ],
)
def test_what_keeps_it_from_starting_is_a_sentence(
    options: list[str], said: str, tmp_path: Path
) -> None:
    done = run("proxy", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(fake: Fake, tmp_path: Path) -> None:
    address = read_config(fake.config).inference.removeprefix("http://")
    (tmp_path / "tokens").mkdir()
    options = ("--tokens", tmp_path / "tokens", "--config", fake.config, "--http", address)
    done = run("proxy", *options)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Error: nginx has ended by itself (1)" in done.stderr

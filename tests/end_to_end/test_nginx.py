"""A real nginx with the configuration of deploy/nginx, in front of two real TorchServes."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

import stubs
import tiny
from bertserve import Client, GrpcClient, Prediction
from bertserve.archives.packaging import package
from bertserve.errors import ClientError, KeyRefused, ModelNotFound, Unavailable
from bertserve.handler.settings import Settings
from bertserve.serving.config import Config, read_config
from bertserve.serving.server import Server
from bertserve.serving.starting import start
from bertserve.versions.versions import Versions
from documents import blocks
from fakes import near
from proxied import (
    NATIVE,
    NGINX,
    TOKEN,
    Proxy,
    change,
    check_strangers,
    load,
    proxy,
    repeating,
    slow_handshakes,
)
from serving import PATIENCE, free_ports, wait_until, write_config

FORMS = {
    "/predictions/tiny": NATIVE,
    "/predictions/tiny/1.0": NATIVE,
    "/v1/models/tiny:predict": b'{"instances": ["good film", {"text": "awful", "top_k": 1}]}',
    "/v2/models/tiny/infer": b'{"id": "1", "inputs": [{"name": "text", "datatype": "BYTES", '
    b'"shape": [1], "data": ["good film"]}]}',
    "/invocations?model_name=tiny": b'{"inputs": "good film", "parameters": {"top_k": 2}}',
}
PREDICTIONS = "inference.InferenceAPIsService/Predictions"

pytestmark = pytest.mark.skipif(
    NGINX is None, reason="nginx is missing; `scripts/tools nginx` installs it"
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of each instance: both have a model, the first a next version of it too, of different weights."""
    stores = [tmp_path_factory.mktemp("store") for _ in range(2)]
    exact = Settings(precision="float32")
    for seed, version in enumerate(("1.0", "2.0")):
        model = tiny.make_model(tmp_path_factory.mktemp("model") / version, seed=seed)
        package(model, name="tiny", version=version, output=stores[0], workers=1, settings=exact)
    shutil.copy(stores[0] / "tiny-1.0.mar", stores[1])
    return stores


@pytest.fixture(scope="module")
def instances(
    stores: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Servers without tokens that answer by 1.0; a test that starts one anew puts it into its place."""
    servers: list[Server] = []
    try:
        for store in stores:
            folder = tmp_path_factory.mktemp("instance")
            config = write_config(folder, disable_token_authorization="true")
            servers.append(start(read_config(config), store))
        Versions(servers[0]).set_default("tiny", "1.0")
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="module")
def configs(instances: list[Server]) -> list[Config]:
    return [server.addresses for server in instances]


@pytest.fixture(scope="module")
def front(configs: list[Config], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy(tmp_path_factory.mktemp("front"), configs) as running:
        yield running


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error in the one shape."""
    (error,) = response.json().values()
    assert error["message"]
    assert response.headers["content-type"] == "application/json"
    return response.status_code, error["code"]


@pytest.mark.parametrize("path", FORMS)
def test_answers_are_those_of_the_server(path: str, front: Proxy, configs: list[Config]) -> None:
    direct = httpx.post(
        configs[0].inference + path,
        content=FORMS[path],
        headers={"Content-Type": "application/json"},
        timeout=PATIENCE,
    )
    assert direct.status_code == 200
    with front.http() as http:
        response = http.post(path, content=FORMS[path])
    assert (response.status_code, response.json()) == (200, near(direct.json()))
    assert response.headers["content-type"] == direct.headers["content-type"]
    assert response.headers["server"] == "nginx"


def test_plain_text_and_the_model_s_own_errors_pass(front: Proxy) -> None:
    plain = {"Content-Type": "text/plain"}
    with front.http() as http:
        assert set(http.post("/predictions/tiny", content=b"{}", headers=plain).json()) == set(
            tiny.LABELS
        )
        empty = http.post("/predictions/tiny", content=b'{"text": ""}')
        assert refusal(empty) == (422, "empty_text")
        many = http.post("/predictions/tiny", json={"texts": ["a"] * 129})
        assert refusal(many) == (413, "too_many_texts")
        assert http.post("/predictions/nobody", content=b"a").json()["code"] == 404


@pytest.mark.parametrize("path", ["/explanations/tiny", "/explanations/tiny/1.0"])
def test_explanations_pass(path: str, front: Proxy) -> None:
    def ask() -> httpx.Response | None:
        response = http.post(path, content=b'{"text": "good film", "label": "neutral"}')
        return None if response.status_code == 429 else response

    with front.http() as http:
        response = wait_until(ask)
        assert response is not None
        assert [word["word"] for word in response.json()["words"]] == ["good", "film"]
        wait_until(lambda: path in front.paths())
        assert refusal(http.get(path)) == (405, "method_not_allowed")
    with front.http(token=None) as http:
        assert refusal(http.post(path, content=b"a")) == (401, "unauthorized")


def test_our_clients(front: Proxy, instances: list[Server]) -> None:
    texts = list(tiny.TEXTS) * 8
    with instances[0].client("tiny") as direct:
        expected = [near(dict(each.probabilities)) for each in found(direct.classify(texts))]
    for client in (front.client(), front.grpc_client()):
        with client:
            assert [dict(each.probabilities) for each in found(client.classify(texts))] == expected
            large = client.classify(["good film " * 9_000] * 32)  # is split
            assert len(found(large)) == 32
    with front.client("nobody") as client, pytest.raises(ModelNotFound):
        client.classify("good film")


def found(results: list[Any]) -> list[Prediction]:
    assert all(isinstance(result, Prediction) for result in results), results
    return results


def test_a_certificate_of_nobody_we_know_is_refused(front: Proxy) -> None:
    url = f"https://{front.address}"
    with (
        Client("tiny", url=url, key=TOKEN) as client,
        pytest.raises(ClientError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.classify("good film")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/models",
        "/models/tiny",
        "/models/tiny/invoke",
        "/metrics",
        "/workflows",
        "/wfpredict/tiny",
        "/token?type=inference",
        "/api-description",
        "/explanations/",
        "/explanations/tiny/1.0/more",
        "/tiny/predict",
        "/predictions/",
        "/predictions/tiny/1.0/more",
        "/predictions/%2e%2e/models",
        "/predictions/tiny%2f..%2f..%2fmodels",
        "/predictions/tiny%0d%0ax",
        "/v1/models/tiny:explain",
        "/v1/models/tiny",
        "/v2/models/tiny/versions/1.0/infer",
        "/invocations?model_name=../models",
        "/nginx_status",
    ],
)
def test_no_other_path_reaches_the_server(path: str, front: Proxy) -> None:
    with front.http() as http:
        for method in ("GET", "POST", "PUT", "DELETE"):
            assert refusal(http.request(method, path)) == (404, "not_found")
    check_strangers(front, 4)


def test_health_needs_no_token(front: Proxy) -> None:
    with front.http(token=None) as http:
        assert http.get("/ping").json() == {"status": "Healthy"}
        assert http.get("/v2/health/ready").json() == {"ready": True}
        assert http.get("/v2/health/live").json() == {"live": True}
        assert http.get("/v2").status_code == 200


def test_a_health_check_with_a_body_is_answered(front: Proxy) -> None:
    with front.http(token=None) as http:
        assert http.post("/ping", content=b"{}").status_code == 200
        assert http.request("GET", "/v2/health/live", content=b"{}").status_code == 200
        for path in ("/ping", "/v2/health/ready"):  # anybody may ask, so none of it is kept
            assert refusal(http.post(path, content=b"x" * 5000)) == (413, "too_large")


def test_models_are_asked_by_post(front: Proxy) -> None:
    with front.http() as http:
        assert refusal(http.get("/predictions/tiny")) == (405, "method_not_allowed")


def test_grpc(front: Proxy) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1]}
    infer = {"model_name": "tiny", "inputs": [{**tensor, "contents": {"bytes_contents": ["YQ=="]}}]}
    predict = {"model_name": "tiny", "input": {"data": "YQ=="}}
    allowed = [
        (stubs.INFERENCE, "Predictions", predict),
        (stubs.INFERENCE, "Ping", {}),
        (stubs.OPEN_INFERENCE, "ModelInfer", infer),
        (stubs.OPEN_INFERENCE, "ModelReady", {"name": "tiny"}),
        (stubs.OPEN_INFERENCE, "ServerLive", {}),
        (stubs.OPEN_INFERENCE, "ServerReady", {}),
    ]
    token = [("authorization", f"Bearer {TOKEN}")]
    with grpc.secure_channel(front.address, front.credentials) as channel:
        for service, name, message in allowed:
            assert stubs.method(channel, service, name)(message, metadata=token, timeout=PATIENCE)
        stream = stubs.method(channel, stubs.INFERENCE, "StreamPredictions")
        with pytest.raises(grpc.RpcError) as raised:
            list(stream(predict, metadata=token, timeout=PATIENCE))
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
    check_strangers(front, 1)


def test_clients_of_the_open_inference_protocol_call_it_by_its_own_package(front: Proxy) -> None:
    """TorchServe does not know that; the messages are the same."""
    contents = {"bytes_contents": [b64encode(b"good film").decode()]}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "contents": contents}
    message = {"model_name": "tiny", "inputs": [tensor]}
    token = [("authorization", f"Bearer {TOKEN}")]
    with grpc.secure_channel(front.address, front.credentials) as channel:

        def call(package: str, name: str, value: object) -> Any:
            ask = stubs.method(channel, stubs.OPEN_INFERENCE, name, package)
            return ask(value, metadata=token, timeout=PATIENCE)

        theirs = call("org.pytorch.serve.grpc.openinference", "ModelInfer", message)
        assert call("inference", "ModelInfer", message).outputs == theirs.outputs
        assert call("inference", "ServerReady", {}).ready
        assert call("inference", "ModelReady", {"name": "tiny"}).ready
        load: Any = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        with pytest.raises(grpc.RpcError) as raised:
            load(b"", metadata=token, timeout=PATIENCE)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_no_other_header_reaches_a_worker(configs: list[Config], tmp_path: Path) -> None:
    orders = {"describe": "True", "explain": "True", "ts_stream_next": "true", "url-path": "x"}
    usual = {"Cookie": "a", "X-Forwarded-For": "1.2.3.4", "Canary-Key": "a", "Accept": "*/*"}
    with (
        repeating() as url,
        proxy(tmp_path, [replace(configs[0], inference=url)]) as front,
        front.http() as http,
    ):
        for path in FORMS:
            passed = http.post(path, content=NATIVE, headers={**orders, **usual}).json()
            assert passed == ["content-length", "content-type", "host"]


def test_hugging_face_s_client_is_known_at_invocations(front: Proxy) -> None:
    path = "/invocations?model_name=tiny"
    with front.http() as http:
        usual, own = (
            http.post(path, content=FORMS[path], headers={"User-Agent": agent}).json()
            for agent in ("python", "unknown/None; hf_hub/1.0; python/3.11")
        )
    assert own == near([usual])


def test_a_body_that_is_too_large(front: Proxy) -> None:
    with front.http() as http:
        whole = http.post("/predictions/tiny", content=b"a" * (2**20 + 1))
        assert refusal(whole) == (413, "too_large")


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy in front of what answers at once; it is also known by example.com and all below that."""
    folder = tmp_path_factory.mktemp("repeated")
    config = read_config(write_config(folder))
    named = ("    localhost 1;\n", "    localhost 1;\n    .example.com 1;\n")
    usual = [("rate=200r/s", "rate=9000r/s"), ("rate=500r/s", "rate=9000r/s"), named]
    with repeating() as url, proxy(folder, [replace(config, inference=url)], *usual) as front:
        yield front


OWN_NAMES = ("127.0.0.1", "localhost", "example.com", "models.example.com", "EXAMPLE.com:443")
FOREIGN_NAMES = (
    "evil.test",
    "example.com.evil.test",
    "1.2.3.4",
    "notexample.com",
    "127.0.0.1.nip.io",
)


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("grpc", [False, True])
def test_another_name_or_another_site_s_page_is_refused(
    path: str, grpc: bool, repeated: Proxy
) -> None:
    """As browsers send it, whose page is not ours or whose name was turned to this address."""
    path = f"/org.pytorch.serve.grpc.{PREDICTIONS}" if grpc else path
    sent = {"Content-Type": "application/grpc"} if grpc else {"Content-Type": "text/plain"}
    with repeated.http() as http:

        def ask(**headers: str) -> httpx.Response:
            return http.post(path, content=b"a", headers={**sent, **headers})

        foreign = [ask(Host=name) for name in FOREIGN_NAMES]
        foreign += [ask(Host="example.com", Origin=f"https://{name}") for name in FOREIGN_NAMES]
        foreign += [ask(Host="example.com", Origin="null")]
        foreign += [ask(Host="example.com", Origin="http://example.com")]
        foreign += [ask(Host="example.com", Origin="https://example.com:8443")]
        foreign += [ask(Host="example.com", Origin="https://models.example.com")]
        foreign += [ask(Host="evil.test", Origin="https://evil.test")]
        for response in foreign:
            if grpc:
                assert response.headers["grpc-status"] == "7"
                assert "another name" in response.headers["grpc-message"]
            else:
                assert refusal(response) == (403, "foreign")
        if not grpc:
            for name in OWN_NAMES:
                assert ask(Host=name).status_code == 200
                assert ask(Host=name, Origin=f"https://{name}").status_code == 200


def test_over_http_2_it_is_the_authority(repeated: Proxy) -> None:
    """As gRPC has it; curl names the headers as browsers do."""
    curl = shutil.which("curl")
    if (
        not curl
        or "HTTP2" not in subprocess.run([curl, "-V"], capture_output=True, text=True).stdout
    ):
        pytest.skip("there is no curl that speaks HTTP/2")
    port = repeated.address.partition(":")[2]
    predictions = f"/org.pytorch.serve.grpc.{PREDICTIONS}"

    def ask(name: str, path: str, *headers: str) -> str:
        more = [part for each in headers for part in ("-H", each)]
        return subprocess.run(
            [curl, "-skiX", "POST", "--http2", "--connect-to", f"{name}:{port}:127.0.0.1:{port}",
             "-d", "a", "-H", f"Authorization: Bearer {TOKEN}", *more, f"https://{name}:{port}{path}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    own = f"Origin: https://example.com:{port}"
    assert ask("example.com", "/predictions/tiny").startswith("HTTP/2 200")
    assert ask("example.com", "/predictions/tiny", own).startswith("HTTP/2 200")
    assert ask("evil.test", "/predictions/tiny").startswith("HTTP/2 403")
    assert ask("example.com", "/predictions/tiny", "Origin: https://evil.test").startswith(
        "HTTP/2 403"
    )
    assert "grpc-status: 7" in ask("evil.test", predictions, "Content-Type: application/grpc")
    assert "grpc-status: 7" not in ask("example.com", predictions, "Content-Type: application/grpc")


def test_health_is_told_by_any_name(repeated: Proxy) -> None:
    with repeated.http(token=None) as http:
        response = http.get("/ping", headers={"Host": "10.0.0.7", "Origin": "https://evil.test"})
    assert response.status_code != 403


@pytest.mark.parametrize("token", [None, "wrong", TOKEN[:-1]])
def test_a_token_that_is_not_known(token: str | None, front: Proxy) -> None:
    with front.http(token) as http:
        for path in FORMS:
            response = http.post(path, content=b"good film")
            assert refusal(response) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
    for client in (front.client(token=token or ""), front.grpc_client(token=token or "")):
        with client, pytest.raises(KeyRefused, match="the token is missing or not known here"):
            client.classify("good film")


def test_too_many_requests(configs: list[Config], tmp_path: Path) -> None:
    slow = [("rate=200r/s", "rate=2r/s"), ("burst=200", "burst=1")]
    with proxy(tmp_path, configs, *slow) as front:
        with front.http() as http:
            responses = [http.post("/predictions/tiny/1.0", content=NATIVE) for _ in range(9)]
        refused = [response for response in responses if response.status_code != 200]
        assert {refusal(response) for response in refused} == {(429, "rate_limited")}
        assert {response.headers["retry-after"] for response in refused} == {"1"}
        for client in (front.client(), front.grpc_client()):
            with client:
                assert found([client.classify("good film") for _ in range(4)])
            # they tried again what was refused
            path = "/predictions/tiny" if isinstance(client, Client) else PREDICTIONS
            wait_until(lambda path=path: front.paths()[path] > 4)  # type: ignore[misc]


def test_no_instance_is_there_until_one_is(configs: list[Config], tmp_path: Path) -> None:
    ports = free_ports(2)
    nowhere = [
        replace(
            configs[0], inference=f"http://127.0.0.1:{port}", grpc_inference=f"127.0.0.1:{port}"
        )
        for port in ports
    ]
    with proxy(tmp_path, nowhere) as front, front.http() as http:
        for _ in range(9):
            response = http.post("/predictions/tiny", content=NATIVE)
            assert refusal(response) == (502, "unavailable")
            assert response.headers["retry-after"] == "1"
        for client in (front.client(deadline=0), front.grpc_client(deadline=0)):
            with client, pytest.raises(Unavailable, match="no instance of the server"):
                client.classify("good film")
        with repeating(ports[1]):  # and is asked at once
            assert http.post("/predictions/tiny", content=NATIVE).status_code == 200


def test_an_instance_can_be_taken_away(configs: list[Config], tmp_path: Path) -> None:
    with repeating() as away, repeating() as here:
        both = [replace(configs[0], inference=url) for url in (away, here)]
        with proxy(tmp_path, both) as front, front.http() as http:

            def asked() -> set[str]:
                for _ in range(8):
                    assert http.post("/predictions/tiny", content=NATIVE).status_code == 200
                return {f"http://{line['instance']}" for line in front.lines()[-8:]}

            wait_until(lambda: asked() == {away, here})
            (code,) = blocks("docs/proxy.md", "executed")
            down, up = (line for line in code.splitlines() if line.startswith("sed"))
            for command, left in ((down, {here}), (up, {away, here})):
                own = command.replace("127.0.0.1:8080", away.removeprefix("http://"))
                subprocess.run(own.replace("/etc/nginx", str(front.site)), shell=True, check=True)
                front.reload()
                wait_until(lambda left=left: asked() == left)  # type: ignore[misc]


def test_a_canary_gets_its_share(configs: list[Config], tmp_path: Path) -> None:
    def version(http: httpx.Client, key: str = "") -> str:
        headers = {"Canary-Key": key} if key else {}
        return str(
            http.post("/predictions/tiny", content=NATIVE, headers=headers).json()["version"]
        )

    with proxy(tmp_path, configs[:1]) as running:
        change(running.site / "canary.conf", ("10%", "30%"), ("# support ", "tiny "))
        running.reload()
        with running.http() as http:
            wait_until(lambda: version(http) == "2.0")
            answered = Counter(version(http) for _ in range(400))
            assert answered["1.0"] + answered["2.0"] == 400
            assert 74 <= answered["2.0"] <= 166  # 120, and five standard deviations
            of_users = [{version(http, f"user {user}") for _ in range(5)} for user in range(20)]
            assert all(len(each) == 1 for each in of_users)
            assert set.union(*of_users) == {"1.0", "2.0"}
            infer = "/v2/models/tiny/infer"
            wait_until(
                lambda: http.post(infer, content=FORMS[infer]).json()["model_version"] == "2.0"
            )
            named = http.post("/predictions/tiny/1.0", content=NATIVE, headers={"Canary-Key": "a"})
            assert named.json()["version"] == "1.0"


def test_instances_are_stopped_and_started_under_load(
    front: Proxy, instances: list[Server], stores: list[Path]
) -> None:
    with load(front, anybody_s=8) as each_is_answered:
        for number, (server, store) in enumerate(zip(instances, stores, strict=True)):
            server.stop()
            each_is_answered()
            instances[number] = start(server.addresses, store)
        each_is_answered()
    both = {server.addresses.inference.removeprefix("http://") for server in instances}
    wait_until(lambda: both <= {line["instance"] for line in front.lines()[-400:]})


def test_our_clients_lose_nothing_while_it_is_reloaded(front: Proxy) -> None:
    with load(front, anybody_s=0) as each_is_answered:
        for _ in range(10):
            front.reload()
            each_is_answered()


def test_a_connection_made_during_a_reload_keeps_the_former_tokens_for_a_while_only(
    configs: list[Config], tmp_path: Path
) -> None:
    """nginx does not close what was only being made then, and an HTTP/2 connection is used for good."""
    with proxy(tmp_path, configs) as front, slow_handshakes(front.address) as slow:
        address, answered, go_on = slow
        change(front.site / "nginx.conf", ("timeout 150s", "timeout 5s"))
        front.reload()
        with (
            GrpcClient("tiny", target=address, key=TOKEN, credentials=front.credentials) as client,
            ThreadPoolExecutor() as pool,
        ):
            first = pool.submit(client.classify, "good film")
            assert answered.wait(PATIENCE)
            change(front.site / "tokens.map", (TOKEN, TOKEN[::-1]))
            former = front.begin_to_reload()
            wait_until(lambda: all(_is_ending(worker) for worker in former))
            go_on.set()
            with suppress(KeyRefused):  # where all this took longer
                assert first.result(PATIENCE)

            def refused() -> bool:
                try:
                    return not client.classify("good film")
                except KeyRefused:
                    return True

            wait_until(refused)
        _, alive = psutil.wait_procs(former, PATIENCE)
        assert not alive


def _is_ending(worker: psutil.Process) -> bool:
    try:
        return "shutting down" in " ".join(worker.cmdline())
    except psutil.NoSuchProcess:  # or it has ended, and nobody has looked yet
        return True


def test_nothing_of_a_caller_is_logged(front: Proxy) -> None:
    secret = "MYSECRET"
    with front.http(token=f"{secret}x") as http:
        http.post("/predictions/tiny", content=secret)
    with front.http() as http:
        for path in ("/predictions/tiny", "/invocations", f"/{secret}", f"/predictions/{secret}/"):
            for query in ("", f"?text={secret}", f"?model_name={secret}+"):
                headers = {
                    "X": secret,
                    "User-Agent": secret,
                    "Referer": secret,
                    "Canary-Key": secret,
                }
                http.post(path + query, content=secret, headers=headers)
        http.post("/predictions/tiny", content=secret * 2**18)
        http.post("/predictions/tiny", content=secret, headers={"Content-Type": "text/plain"})
        http.request(secret, "/predictions/tiny")
        http.get("/v2/health/live")
    wait_until(lambda: front.lines()[-1]["path"] == "/v2/health/live")
    assert ("/predictions/tiny", "tests") in {
        (line["path"], line["caller"]) for line in front.lines()
    }
    logged = "".join(path.read_text() for path in front.logs.iterdir())
    assert secret not in logged
    assert TOKEN not in logged
    assert (front.logs / "error.log").read_text() == ""

"""What a server refuses, as it comes out of the box."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from bertserve.clients.keys import Kind, bearer, read_api_key
from bertserve.errors import BertserveError, KeyRefused
from bertserve.protos import inference_pb2, inference_pb2_grpc, management_pb2
from bertserve.serving.config import read_config
from bertserve.serving.management import change
from bertserve.serving.server import Server
from bertserve.serving.starting import start
from bertserve.versions.versions import Versions
from faults import our_callers
from serving import PATIENCE, wait_until, write_config

INFERENCE = ("/predictions/tiny", "/ping", "/v1/models/tiny:predict", "/v2/models/tiny/infer")
MANAGEMENT = ("/models", "/models/tiny", "/workflows")


@pytest.fixture(scope="module")
def server(archives: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Keys of it live for six seconds."""
    folder = tmp_path_factory.mktemp("guarded")
    store = folder / "store"
    store.mkdir()
    shutil.copy(archives[0], store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_SECRET", "of the site")
        server = start(read_config(write_config(folder, token_expiration_min="0.1")), store)
    yield server
    server.stop()


def keys(server: Server) -> dict[str, str | None]:
    """Tokens that are not the right one, whichever address they are shown to."""
    return {"none": None, "made up": "x" * 8, "of the API": read_api_key(server.key_file)}


def manage(server: Server, path: str, method: str = "GET") -> httpx.Response:
    headers = bearer(server.key("management"))
    url = server.addresses.management + path
    return httpx.request(method, url, headers=headers, timeout=PATIENCE)


def test_it_listens_on_loopback_alone(server: Server) -> None:
    process = psutil.Process(server.pid)
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for each in (process, *process.children(recursive=True))
        for connection in each.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize("path", INFERENCE)
def test_inference_wants_the_inference_key(server: Server, path: str) -> None:
    wrong = {**keys(server), "of management": server.key("management")}
    for key in wrong.values():
        answer = httpx.post(
            server.addresses.inference + path, content=b"x", headers=bearer(key), timeout=PATIENCE
        )
        assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException")


@pytest.mark.parametrize("path", MANAGEMENT)
def test_management_wants_the_management_key(server: Server, path: str) -> None:
    wrong = {**keys(server), "of inference": server.key("inference")}
    for key in wrong.values():
        for method in ("GET", "POST", "DELETE", "PUT"):
            url = server.addresses.management + path
            answer = httpx.request(method, url, headers=bearer(key), timeout=PATIENCE)
            assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException")


def test_grpc_wants_the_keys_too(server: Server) -> None:
    request = inference_pb2.PredictionsRequest(model_name="tiny", input={"data": b"good"})
    unregister = management_pb2.UnregisterModelRequest(model_name="tiny", model_version="1.0")
    with grpc.insecure_channel(server.addresses.grpc_inference) as channel:
        stub: Any = inference_pb2_grpc
        predict = stub.InferenceAPIsServiceStub(channel).Predictions
        for key in (*keys(server).values(), server.key("management")):
            metadata = [("authorization", f"Bearer {key}")] if key else []
            with pytest.raises(grpc.RpcError) as refused:
                predict(request, metadata=metadata, timeout=PATIENCE)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    for key in (*keys(server).values(), server.key("inference")):

        def wrong(_: Kind, __: str | None, key: str | None = key) -> str | None:
            return key

        with pytest.raises(KeyRefused):
            change(server.addresses.grpc_management, wrong, "UnregisterModel", unregister, 30)
    assert Versions(server).one("tiny").ready == 1


def test_clients_take_a_new_key_without_losing_a_request(server: Server) -> None:
    with our_callers(server, threads=3) as seen:
        used = set()

        def renewed() -> bool:
            used.add(server.key_file.read_text())
            return len(used) > 2

        wait_until(renewed)
        answered = seen.answers.total()
        wait_until(lambda: seen.answers.total() > answered + 20)
    seen.assert_whole()


def test_a_key_that_the_file_has_wrong_is_renewed(server: Server) -> None:
    """TorchServe leaves such a file where keys are renewed by others at the same time."""
    for kind in ("inference", "management"):
        keys = json.loads(server.key_file.read_bytes())
        keys[kind] = {"key": "x" * 8, "expiration time": "2999-01-01T00:00:00Z"}
        server.key_file.write_text(json.dumps(keys))
        if kind == "inference":
            for client in (server.client("tiny"), server.grpc_client("tiny")):
                with client:
                    assert client.classify("good film").label
        else:
            Versions(server).scale("tiny", None, 1)
        assert json.loads(server.key_file.read_bytes())[kind]["key"] != "x" * 8


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/tiny-2.0.mar",
        "http://127.0.0.1/tiny-2.0.mar",
        "file:///etc/passwd",
        "../tiny-2.0.mar",
        "missing.mar",
    ],
)
def test_only_archives_of_the_model_store_are_served(server: Server, url: str) -> None:
    assert manage(server, f"/models?url={url}", "POST").status_code == 404
    request = management_pb2.RegisterModelRequest(url=url, synchronous=True)
    with pytest.raises(BertserveError):
        change(server.addresses.grpc_management, server.key, "RegisterModel", request, 60)
    assert [model.version for model in Versions(server).all()] == ["1.0"]


@pytest.mark.parametrize("url", ["https://example.org/x.war", "x.war", "../x.war"])
def test_workflows_are_shut(server: Server, url: str) -> None:
    (Path(server.model_store) / "x.war").write_bytes(b"PK")
    answer = manage(server, f"/workflows?url={url}", "POST")
    assert (answer.status_code, answer.json()["type"]) == (404, "WorkflowNotFoundException")


def test_the_keys_are_for_their_owner_alone(server: Server) -> None:
    assert server.key_file.stat().st_mode & 0o077 == 0
    assert Path(server.directory).stat().st_mode & 0o077 == 0
    assert Path(server.scratch).stat().st_mode & 0o077 == 0


def test_workers_see_no_secret_of_the_environment(server: Server) -> None:
    assert "SOME_SECRET" in psutil.Process(server.pid).environ()
    (worker,) = Versions(server).one("tiny").workers
    environment = psutil.Process(worker.pid).environ()
    assert "HOME" in environment
    assert "SOME_SECRET" not in environment

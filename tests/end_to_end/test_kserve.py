"""An InferenceService as KServe runs it: its own storage initializer, then the runtime's own command."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from pyarrow import fs

import stubs
from bertserve.archives import golden
from documents import ROOT
from kserve_runtimes import objects, runtime, started
from serving import PATIENCE, environment, free_ports, wait_until

STORAGE = "kserve-storage==0.21.0"
CLASSES = Path(__file__).with_name("kserve_classes.py")
SERVICE = "angry-customers"  # not what the archive is called
TEST_OF_HELM = ROOT / "deploy" / "kubernetes" / "bertserve" / "files" / "classify.py"


def wrong(python: str, found: list[dict[str, Any]]) -> list[str]:
    """What KServe's classes say of objects."""
    done = subprocess.run(
        [python, str(CLASSES), json.dumps(found)], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_kserve_s_classes_know_every_field(kserve_python: str) -> None:
    found = [each for each in objects() if "kserve" in each["apiVersion"]]
    assert len(found) >= 5
    assert wrong(kserve_python, found) == []
    text = json.dumps(found)
    for right, misspelt in [
        ("canaryTrafficPercent", "canaryTraffic"),
        ("readinessProbe", "readynessProbe"),
        ("supportedModelFormats", "supportedModelFormat"),
        ("storageUri", "storageURI"),
    ]:
        assert right in text
        assert misspelt in " ".join(wrong(kserve_python, json.loads(text.replace(right, misspelt))))


@pytest.fixture(scope="module")
def initializer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of KServe's storage initializer, to be imported; what it needs for S3 moto has brought."""
    folder = tmp_path_factory.mktemp("kserve-storage")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder),
    ]
    done = subprocess.run([*command, STORAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{STORAGE} cannot be installed: {done.stderr.strip()[-200:]}")
    return folder


def initialize(initializer: Path, uri: str, models: Path, **more: str) -> None:
    code = "import sys; from kserve_storage import Storage; Storage.download(*sys.argv[1:])"
    subprocess.run(
        [sys.executable, "-c", code, uri, str(models)],
        env={**environment(), "PYTHONPATH": str(initializer), **more},
        check=True,
    )


@pytest.fixture
def models(archives: list[Path], initializer: Path, s3: str, tmp_path: Path) -> Path:
    """/mnt/models, as the storage initializer leaves it of s3://models/support/1.0/."""
    store, _ = fs.FileSystem.from_uri(f"s3://models/{s3}&allow_bucket_creation=true")
    store.create_dir("models")
    content = archives[0].read_bytes()
    with store.open_output_stream(f"models/support/1.0/{archives[0].name}") as stream:
        stream.write(content)
    (endpoint,) = re.findall(r"endpoint_override=([^&]+)", s3)
    found = tmp_path / "models"
    initialize(
        initializer,
        "s3://models/support/1.0/",
        found,
        AWS_ENDPOINT_URL=f"http://{endpoint}",
        AWS_DEFAULT_REGION="us-east-1",
    )
    assert [path.name for path in found.rglob("*")] == [archives[0].name]
    assert (found / archives[0].name).read_bytes() == content
    return found


@contextmanager
def served(name: str, models: Path, tmp: Path) -> Iterator[dict[int, int]]:
    """Which ports are free ones here, while the runtime's container runs and is ready."""
    begun = started(runtime(name), SERVICE, models, tmp)
    fixed = (8080, 8081, 8082, 8083, 7070, 7071)
    ports = dict(zip(fixed, free_ports(len(fixed)), strict=True))
    command = list(begun.command)
    # other ports, and the last line before the program starts is where all of them are known
    lines = command[2].splitlines()
    change = "; ".join(f"s/([:=]){old}$/\\1{new}/" for old, new in ports.items())
    lines.insert(-1, f"sed -Ei '{change}' '{tmp}/config.properties'")
    command[2] = "\n".join(lines)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log = tmp / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={**environment(), **begun.environment, "PATH": path},
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        probe = runtime(name)["containers"][0]["readinessProbe"]["httpGet"]

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                url = f"http://127.0.0.1:{ports[probe['port']]}{probe['path']}"
                return httpx.get(url, trust_env=False, timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(is_ready)
        yield ports
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def near(probabilities: dict[str, float]) -> Any:
    return pytest.approx(probabilities, abs=1e-3)


def test_a_service_over_http(models: Path, archives: list[Path], tmp_path: Path) -> None:
    (text, right), *_ = golden(archives[0])
    assert isinstance(text, str)
    with served("bertserve", models, tmp_path) as ports:
        url = f"http://127.0.0.1:{ports[8080]}"
        with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE) as client:
            v1 = client.post(f"/v1/models/{SERVICE}:predict", json={"instances": [text]})
            assert v1.json() == {"predictions": [near(right)]}
            tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
            v2 = client.post(f"/v2/models/{SERVICE}/infer", json={"inputs": [tensor]})
            assert v2.json()["model_name"] == SERVICE
            assert v2.json()["outputs"][0]["data"] == [max(right, key=lambda label: right[label])]
            assert client.get(f"/v2/models/{SERVICE}").status_code in (200, 404)
            assert client.post("/predictions/tiny", content=text).status_code == 404
        tokens = tmp_path / "tokens"
        tokens.mkdir()
        (tokens / "shop").write_text("a-token\n")
        done = subprocess.run(
            [sys.executable, "-c", TEST_OF_HELM.read_text(), url, SERVICE, str(tokens)],
            capture_output=True, text=True, check=False, env={**environment(), "no_proxy": "*"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert set(json.loads(done.stdout)) == set(right)


def test_a_service_over_grpc(models: Path, archives: list[Path], tmp_path: Path) -> None:
    (text, right), *_ = golden(archives[0])
    assert isinstance(text, str)
    contents = {"bytes_contents": [base64.b64encode(text.encode()).decode()]}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "contents": contents}
    with (
        served("bertserve-grpc", models, tmp_path) as ports,
        grpc.insecure_channel(f"127.0.0.1:{ports[7070]}") as channel,
    ):
        ready = stubs.method(channel, stubs.OPEN_INFERENCE, "ModelReady")
        assert ready({"name": SERVICE}, timeout=PATIENCE).ready
        infer = stubs.method(channel, stubs.OPEN_INFERENCE, "ModelInfer")
        answer = infer({"model_name": SERVICE, "inputs": [tensor]}, timeout=PATIENCE)
        assert answer.model_name == SERVICE
        outputs = {output.name: output.contents for output in answer.outputs}
        best = max(right, key=lambda label: right[label])
        assert json.loads(outputs["label"].bytes_contents[0]) == best


@pytest.mark.parametrize("as_folder", [True, False], ids=["folder", "file"])
def test_storage_that_is_a_folder_or_a_file(
    archives: list[Path], initializer: Path, as_folder: bool, tmp_path: Path
) -> None:
    """What is copied beside S3: volumes, which the initializer links to."""
    source = tmp_path / "claim"
    source.mkdir()
    shutil.copy(archives[0], source)
    uri = f"file://{source if as_folder else source / archives[0].name}"
    initialize(initializer, uri, tmp_path / "models")
    found = [path for path in (tmp_path / "models").rglob("*.mar") if path.is_file()]
    assert [path.relative_to(tmp_path / "models").name for path in found] == [archives[0].name]
    assert found[0].parent == tmp_path / "models"

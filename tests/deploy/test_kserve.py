"""Pods that a cluster takes, commands that the program knows, and a configuration that is safe."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bertserve.serving.config import read_config
from bertserve.serving.config.properties import parse_properties
from kserve_runtimes import objects, runtime, started
from manifests import CHART, OLDEST, pod_of, validate

RUNTIMES = ["bertserve", "bertserve-grpc"]
CONFIG = CHART / "files" / "config.properties"  # the image's own says the same
CALLED = {
    "bertserve": {"inference_address": "http://0.0.0.0:8080"},
    "bertserve-grpc": {"grpc_inference_address": "0.0.0.0"},
}


def services() -> list[dict[str, Any]]:
    return [each for each in objects() if each["kind"] == "InferenceService"]


@pytest.fixture(params=RUNTIMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_cluster_takes_the_pod(name: str) -> None:
    spec = runtime(name)
    pod = {key: spec[key] for key in ("containers", "volumes")}
    for version in (None, OLDEST):
        validate(pod_of(pod), *filter(None, [version]))
    (container,) = spec["containers"]
    assert container["name"] == "kserve-container"  # by which KServe knows it
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["runAsNonRoot"] is True


def test_a_cluster_takes_what_is_not_kserve_s() -> None:
    own = [each for each in objects() if "kserve" not in each["apiVersion"]]
    assert {each["kind"] for each in own} == {"Secret", "ServiceAccount", "PodMonitor"}
    for each in own:
        validate(each)


def test_what_scales_is_what_kserve_hands_on() -> None:
    """Of an external metric it takes the value alone, and only where it makes the deployment itself."""
    scaled = [each for each in services() if "autoScaling" in each["spec"]["predictor"]]
    assert scaled
    for each in scaled:
        annotations = each["metadata"]["annotations"]
        assert annotations["serving.kserve.io/autoscalerClass"] == "keda"
        assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
        for metric in each["spec"]["predictor"]["autoScaling"]["metrics"]:
            assert metric["external"]["target"]["value"].isdecimal()  # 0.15 takes whole numbers
            assert 'namespace="' in metric["external"]["metric"]["query"]


def test_knative_takes_no_field_that_it_has_not() -> None:
    for each in services():
        if (
            each["metadata"].get("annotations", {}).get("serving.kserve.io/deploymentMode")
            == "Knative"
        ):
            assert "terminationGracePeriodSeconds" not in each["spec"]["predictor"]


def test_what_is_started(name: str, tmp_path: Path) -> None:
    """The command itself, with a program in bertserve's place that says what it was told."""
    (tmp_path / "bin").mkdir()
    told = f'#!/bin/sh\nprintf "%s\\n" "$@" >{shlex.quote(str(tmp_path / "told"))}\n'
    for program, text in {
        "bertserve": told,
        "python3": f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n',
    }.items():
        path = tmp_path / "bin" / program
        path.write_text(text)
        path.chmod(0o755)
    begun = started(runtime(name), "support", tmp_path / "models", tmp_path, "--json")
    own = {**begun.environment, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(begun.command, env={**os.environ, **own}, check=True)
    config = tmp_path / "config.properties"
    assert (tmp_path / "told").read_text().splitlines() == [
        "serve", "--foreground", "--config", str(config), "--model-store", str(tmp_path / "models"),
        "--name", "support", "--json",
    ]  # fmt: skip
    usual = parse_properties(CONFIG.read_bytes())
    found = parse_properties(config.read_bytes())
    assert found == {**usual, "disable_token_authorization": "true", **CALLED[name]}
    read = read_config(config)
    assert read.supervisor_host == "0.0.0.0"
    assert read.ports()["management_address"] == ("127.0.0.1", 8081)


def test_ports_are_those_that_are_listened_at(name: str) -> None:
    (container,) = runtime(name)["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == {"bertserve": 8080, "bertserve-grpc": 7070}[name]
    # by the name Knative knows what is spoken
    assert port["name"] == {"bertserve": "http1", "bertserve-grpc": "h2c"}[name]
    for probe, path in (("readinessProbe", "/ready"), ("livenessProbe", "/live")):
        assert container[probe]["httpGet"] == {"path": path, "port": 8083}


def test_every_service_finds_one_runtime() -> None:
    assert len(services()) >= 3
    for each in services():
        model = each["spec"]["predictor"]["model"]
        found = [
            name
            for name in RUNTIMES
            if model["protocolVersion"] in runtime(name)["protocolVersions"]
            and model["modelFormat"]["name"]
            in [known["name"] for known in runtime(name)["supportedModelFormats"]]
        ]
        assert len(found) == 1
        assert "runtime" not in model

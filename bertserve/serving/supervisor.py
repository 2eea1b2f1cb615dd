"""Watches a server from a process of its own: brings lost workers back, and says how things are.

`bertserve serve` starts it with the server, and it ends with the server. It looks twice a second. A
worker whose process is gone while TorchServe calls it READY is written off, and another one made. One
that is stopped, or is at a batch and gives no sign of life, is ended, so that TorchServe starts it anew.
At `supervisor_address` it tells what is true, see `health`.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ..clients import GONE, READY, STUCK, Model, Worker
from ..errors import BertserveError
from ..system import locked
from .gauges import exposition
from .health import answer_at
from .management import CHANGING, change, scaling
from .server import DRAINING, HEARTBEATS, Server, read_state
from .state import is_being_started
from .workers import busy, key, read_written_off, truth, write_written_off

logger = logging.getLogger("supervisor")

_INTERVAL = 0.5  # seconds
_STALE = 2.0  # seconds after which nothing is known any more
_DESCRIBED = 10.0  # seconds after which TorchServe is asked though nothing changed
_GRACE = 1.0  # seconds that TorchServe has to see that a worker is gone, and a stopped one to go on
_SILENCE = 10.0  # seconds without a sign of life from a worker that is not stopped
_GIVEN_UP = 180.0  # seconds without a process; TorchServe pauses for less between its tries
_STATES = (READY, GONE, STUCK)  # those of a worker that has a process, or had one
_POLL = 0.1  # seconds, while it is drained
_QUIET = 3.0  # seconds without a request; one may be on its way, and a busy machine is slow
_DOUBT = 0.7  # seconds; a machine that paused finds old signs of life, and new ones a moment later

Slot = tuple[str, str]  # "NAME/VERSION", and the id of one of TorchServe's workers


@dataclass
class Supervisor:
    """`models` are as TorchServe described them last, `seen` when that was."""

    server: Server
    models: list[Model] = field(default_factory=list)
    seen: float = 0.0
    lost: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._directory = Path(self.server.directory)
        self._status = self.server.judge()
        self._is_busy = busy(Path(self.server.scratch) / HEARTBEATS)
        # told in a file, for another supervisor may take the place of this one
        self._drained = Path(self.server.scratch) / "draining"
        self._draining = self._drained.exists()
        self._started = self._ready = False
        # versions whose workers were all READY, and not all gone since
        self._whole: set[str] = set()
        self._signs: object = None
        self._since: dict[Slot, tuple[str, float]] = {}
        self._described = self._looked = 0.0
        self._lock = threading.Lock()
        self._client = self.server.grpc_client("", timeout=_STALE, deadline=0)

    def run(self) -> None:
        """Watch until the server has ended, or another one took its place."""
        told = ""
        while self.server.process() is not None:
            begin = time.monotonic()
            try:
                self.look()
                self.heal()
                told = ""
            except BertserveError as error:  # TorchServe does not answer: nothing is known
                if self._described and str(error) != told:
                    told = str(error)
                    logger.warning("%s", told)
            except Exception:
                logger.exception("a look failed")
            time.sleep(max(0.05, _INTERVAL - (time.monotonic() - begin)))

    def look(self) -> None:
        """See how the workers are; TorchServe is asked where something may have changed.

        To ask it has a price: it runs nvidia-smi for each worker of a GPU.
        """
        now, signs = time.monotonic(), self._read_signs()
        if now - self._looked > _STALE + _INTERVAL:  # this process itself was stopped
            self._since.clear()
        self._looked = now
        is_whole = self.models and all(model.state == READY for model in self.true())
        if signs != self._signs or not is_whole or now - self._described > _DESCRIBED:
            models = self._client.models()
            self._signs, self._described = signs, now
            with self._lock:
                self.models = models
        with self._lock:
            self.seen = time.monotonic()
        true = self.true()
        self._whole &= {key(model) for model in true if model.ready}
        self._whole |= {key(model) for model in true if 0 < model.wanted <= model.ready}

    def _read_signs(self) -> object:
        """What changes with each change of TorchServe's: its snapshots and its processes."""
        process = self.server.process()
        children = {child.pid for child in process.children()} if process else set()
        return sorted((self.server.logs / "config").glob("*.cfg")), children

    def true(self) -> list[Model]:
        """The models with what their workers really are."""
        return self._true(self._known())

    def _known(self) -> list[Model]:
        with self._lock:
            return self.models

    def _true(self, models: list[Model]) -> list[Model]:
        return truth(models, self._status, read_written_off(self._directory))

    def heal(self) -> None:
        """Bring back what TorchServe does not."""
        known = self._known()
        for raw, model in zip(known, self._true(known), strict=True):
            gone = []
            for worker in model.workers:
                state, seconds = self._state_since(model, worker)
                patience = _GRACE if _is_stopped(worker.pid) else _SILENCE
                if state == STUCK and seconds > patience:
                    logger.warning(
                        "a worker of %s does not answer, so it is ended: process %d",
                        key(model),
                        worker.pid,
                    )
                    with suppress(psutil.Error):
                        psutil.Process(worker.pid).kill()
                    self._count(model, [worker])
                elif (state == GONE and seconds > _GRACE) or (
                    state == "no process" and seconds > _GIVEN_UP
                ):
                    gone.append(worker)
            if gone:
                self._replace(raw, gone)
        self._forget_others()

    def _state_since(self, model: Model, worker: Worker) -> tuple[str, float]:
        """The state of a worker, and for how many seconds it has been so."""
        state = worker.status
        if state not in _STATES and not (worker.pid > 0 and psutil.pid_exists(worker.pid)):
            state = "no process"
        slot, now = (key(model), worker.id), time.monotonic()
        before, since = self._since.get(slot, (state, now))
        self._since[slot] = (state, since if before == state else now)
        return state, now - self._since[slot][1]

    def _replace(self, raw: Model, gone: list[Worker]) -> None:
        """Have as many new workers made as are gone, and write those off."""
        logger.warning(
            "%d workers of %s are gone, and TorchServe does not start them again: others are started",
            len(gone),
            key(raw),
        )
        request = scaling(raw.name, raw.version, raw.wanted + len(gone), wait=False)
        addresses = self.server.addresses
        change(addresses.grpc_management, self.server.key, "ScaleWorker", request, CHANGING)
        written_off = read_written_off(self._directory)
        written_off.setdefault(key(raw), []).extend(worker.id for worker in gone)
        present = {key(model): {each.id for each in model.workers} for model in self.models}
        kept = {
            name: [each for each in ids if each in present.get(name, ())]
            for name, ids in written_off.items()
        }
        write_written_off(self._directory, kept)
        self._signs = None
        self._count(raw, gone)

    def _count(self, model: Model, workers: list[Worker]) -> None:
        self.lost[key(model)] += len(workers)
        for worker in workers:
            self._since.pop((key(model), worker.id), None)

    def _forget_others(self) -> None:
        present = {(key(model), each.id) for model in self.models for each in model.workers}
        self._since = {slot: since for slot, since in self._since.items() if slot in present}

    def missing(self) -> list[str]:
        """What keeps requests from being answered, a sentence each; nothing where they are.

        A version that just came wants all its workers, one that was whole since only one of them.
        What was ready and now only gives no sign of life is looked at for a moment longer.
        """
        until = time.monotonic() + _DOUBT
        while True:
            found, is_sure = self._missing()
            if not found or is_sure or not self._ready or time.monotonic() > until:
                self._ready = not found
                return found
            time.sleep(_POLL)

    def _missing(self) -> tuple[list[str], bool]:
        """What is missing now, and whether that is sure: nothing is, of what gives no sign of life."""
        process = self.server.process()
        if process is None or not self._described:
            return ["TorchServe does not answer"], True
        if not self._started:  # who starts it would end it at a signal, whatever it was asked
            self._started = not is_being_started(self._directory)
        if not self._started:
            return ["the server is being started"], True
        if _is_stopped(process.pid):
            return ["TorchServe's process is stopped"], True
        with self._lock:
            is_known = bool(self.models) and time.monotonic() - self.seen < _STALE
        if not is_known:
            return ["TorchServe does not answer"], False
        found, is_sure = [], self._draining
        if self._draining:
            found.append("the server is being drained")
        for model in self.true():
            needed = 1 if key(model) in self._whole else max(1, model.wanted)
            if model.default and model.ready < needed:
                name = f"{model.name} {model.version}"
                found.append(f"{name} has {model.ready} of {needed} workers that it needs")
                is_sure |= all(each.status != STUCK for each in model.workers)
        return found, is_sure

    def drain(self) -> dict[str, int]:
        """Be ready no more, and wait until nothing waits or is under way, or there is no more time.

        Returns the requests that wait and the workers that are at a batch.
        """
        if not self._draining:
            logger.info("the server is being drained")
            self._draining = True
            with suppress(OSError):
                self._drained.touch()
        deadline = time.monotonic() + DRAINING
        quiet_since = time.monotonic()
        while True:
            models = self._asked()
            left = {
                "waiting": sum(model.pending for model in models),
                "busy": sum(self._is_busy(worker) for model in models for worker in model.workers),
            }
            now = time.monotonic()
            if any(left.values()):
                quiet_since = now
            if now - quiet_since > _QUIET or now > deadline:
                return left
            time.sleep(_POLL)

    def metrics(self) -> bytes:
        """Gauges and a counter, in Prometheus' format."""
        return exposition(not self.missing(), self._asked(), self._is_busy, self.lost)

    def _asked(self) -> list[Model]:
        """The models as they are now; as they were last where TorchServe does not answer."""
        with suppress(BertserveError):
            return self._true(self._client.models())
        return self.true()

    def close(self) -> None:
        """Close the connection to TorchServe."""
        self._client.close()


def _is_stopped(pid: int) -> bool:
    with suppress(psutil.Error, ValueError):
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    return False


def main() -> None:
    """Supervise the server of a state folder, which the one argument names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that is for `bertserve serve`
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server = read_state(Path(sys.argv[1]))
    if server is None:
        sys.exit(f"{sys.argv[1]} tells of no server")
    supervisor = Supervisor(server)
    host, port = server.addresses.ports()["supervisor_address"]
    try:
        answer_at(supervisor, host, port)
    except OSError as error:
        sys.exit(f"{host}:{port} cannot be used ({error.strerror}); see supervisor_address")
    # programs that sweep up in the same folder, in another container, cannot see that the server runs
    with locked(Path(server.scratch)):
        supervisor.run()

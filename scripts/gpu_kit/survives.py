"""Out of memory, an error that ends the worker, and two workers on one GPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

import tiny
from handler import checksums
from handler.engine import Classifier
from handler.metrics import Metrics
from handler.values import Encoding

from . import models
from .checks import Check, Checks, Found, Impossible, Wrong
from .paths import ROOT, kit_environment

_LEFT = 3 << 30  # bytes of GPU memory that the others leave to us
_PIECE = 2 << 20  # the smallest that torch asks a GPU for
_TIMEOUT = 180
# what makes the CPU wait for a GPU
_WAITING = {
    *("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    *("cudaMemcpy", "cudaMemcpyToSymbol", "cudaFree", "cudaMalloc"),
}
_ENDS_WITH = 1  # a status after which TorchServe starts another worker


def checks(device: torch.device, root: Path) -> Checks:
    yield Check("out of memory", partial(out_of_memory, device))
    yield Check("a text that no memory holds", partial(too_large, device))
    yield Check("an error that ends the worker", partial(fatal_error, device, root / "fatal"))
    yield Check("two workers on one GPU", partial(two_workers, device))
    for settings in ("", "expandable_segments:True"):
        name = f"memory over many texts{', ' * bool(settings)}{settings.partition(':')[0]}"
        yield Check(name, partial(long_lived, device, settings))
    yield Check("what the CPU waits for", partial(waiting, device))


def out_of_memory(device: torch.device) -> Found:
    """A budget that cannot fit beside what others hold: all texts are answered, in smaller batches."""
    metrics = Metrics()
    tokens = 1_000_000 if device.type == "cuda" else 4_096
    classifier = models.classifier(device, metrics=metrics)
    texts = models.texts([512] * (tokens // 512))
    expected, _ = classifier(texts[:8])
    classifier.token_budget = tokens
    with scarce_memory(classifier, _LEFT, 1_024):
        found, problems = classifier(texts)
        budget, halved = classifier.token_budget, classifier.out_of_memory
        again, _ = classifier(texts)
    if any(problems) or not found.isfinite().all():
        raise Wrong(f"{sum(map(bool, problems))} of {len(texts)} texts were not answered")
    if not halved or budget >= tokens:
        raise Wrong(f"memory sufficed for {tokens} tokens: nothing was tried")
    if metrics.take().get(("out_of_memory_total", ())) != classifier.out_of_memory:
        raise Wrong("it was not counted")
    if not _same(found[:8], expected) or not _same(found, again):
        raise Wrong(f"texts got other logits than before, by {(found - again).abs().max():.1e}")
    figures = {"tokens": tokens, "budget": budget, "halved": halved}
    return Found(f"{tokens:,} tokens answered, budget halved {halved} × to {budget:,}", figures)


def too_large(device: torch.device) -> Found:
    """A text for which there is no memory gets an error of its own, the others are answered."""
    classifier = models.classifier(device)
    texts = models.texts([512, 16, 16])
    expected, _ = classifier(texts)
    with scarce_memory(classifier, 0, 64):
        found, problems = classifier(texts)
    codes = [problem.code if problem else "" for problem in problems]
    answered = [index for index, code in enumerate(codes) if not code]
    if set(codes) - {"", "overloaded"} or not _same(found[answered], expected[answered]):
        raise Wrong(f"texts got {codes}, or other logits than before")
    return Found(f"{len(answered)} of 3 texts answered, the others overloaded", {"codes": codes})


def _same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """In smaller batches; a CPU without our kernels sums in another order then."""
    return torch.allclose(found, expected, rtol=0, atol=1e-4)


@contextmanager
def scarce_memory(classifier: Classifier, left: int, tokens: int) -> Iterator[None]:
    """Hold the GPU's memory but for `left` bytes; on a CPU play that for more than so many tokens."""
    if classifier.device.type == "cuda":
        held = _take_memory(classifier.device, left)
        try:
            yield
        finally:
            held.clear()
            torch.cuda.empty_cache()
        return
    forward = classifier._forward

    def limited(encodings: Sequence[Encoding]) -> torch.Tensor:
        if sum(len(each.input_ids) for each in encodings) > tokens:
            raise torch.OutOfMemoryError
        return forward(encodings)

    vars(classifier)["_forward"] = limited
    try:
        yield
    finally:
        del vars(classifier)["_forward"]


def _take_memory(device: torch.device, left: int) -> list[torch.Tensor]:
    """All memory of a GPU but for `left` bytes, in smaller and smaller pieces."""
    torch.cuda.empty_cache()
    held: list[torch.Tensor] = []
    size = torch.cuda.mem_get_info(device)[0]
    while size >= _PIECE and (room := torch.cuda.mem_get_info(device)[0] - left) >= _PIECE:
        size = min(size, room)
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device=device))
        except torch.OutOfMemoryError:
            size //= 2
    return held


def fatal_error(device: torch.device, root: Path) -> Found:
    """After an error that leaves the GPU lost to a process, the worker ends at once."""
    archive = lay_out(tiny.make_model(root / "model"), root / "archive")
    status, output, errors = _communicate(_start(archive, "fatal", device))
    ended = time.time()
    if status != _ENDS_WITH or "the worker ends" not in errors:
        raise Wrong(f"status {status}, {output.strip()[-200:]} {errors.strip()[-300:]}")
    seconds = ended - float(output.splitlines()[-1])
    return Found(
        f"it ends with status {status} after {seconds:.1f} s",
        {"status": status, "seconds": seconds},
    )


def two_workers(device: torch.device) -> Found:
    """Two processes that share a GPU give what one gives."""
    alone = _result(_start(ROOT, "classify", device))
    both = [_start(ROOT, "classify", device) for _ in range(2)]
    found = [_result(process) for process in both]
    for each in found:
        if each["logits"] != alone["logits"]:
            raise Wrong("a worker beside another one gives other logits")
    rates = [each["texts_per_second"] for each in found]
    return Found(
        f"the same bits; {sum(rates):,.0f} texts/s together, {alone['texts_per_second']:,.0f} alone",
        {
            "texts_per_second": rates,
            "alone": alone["texts_per_second"],
            "memory_bytes": [each["memory_bytes"] for each in found],
        },
    )


def long_lived(device: torch.device, settings: str) -> Found:
    """Memory of a GPU after each tenth of many texts of random lengths: as much as after warming up."""
    found = _result(_start(ROOT, "endure", device, PYTORCH_CUDA_ALLOC_CONF=settings))
    reserved, allocated = found["reserved_bytes"], found["allocated_bytes"]
    text = (
        f"{found['texts']:,} texts, {found['texts'] / found['seconds']:,.0f} texts/s, "
        f"{reserved[0] / 2**20:,.0f} MiB after warm-up, {max(reserved) / 2**20:,.0f} at most"
    )
    if max(reserved) > reserved[0] or max(allocated) > allocated[0]:
        raise Wrong(f"memory grows: {text}, tensors {allocated[0]:,} to {max(allocated):,} bytes")
    return Found(text, found)


def waiting(device: torch.device) -> Found:
    """In a batch of many micro-batches the CPU waits for the GPU once, by the profiler's account."""
    if device.type == "cpu":
        raise Impossible("nothing is waited for on a CPU")
    classifier = models.classifier(device)
    classifier.warm_up(models.LONGEST)
    texts = models.texts([16, 128, 512, 3, 200] * 400)
    classifier(texts)
    both = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=both) as seen, record_function("a batch"):
        classifier(texts)
    events = seen.events()
    batch = next(event for event in events if event.name == "a batch").time_range
    counts = Counter(
        event.name
        for event in events
        if event.name in _WAITING and batch.start <= event.time_range.start <= batch.end
    )
    graphs = sum(event.name == "cudaGraphLaunch" for event in events)
    if sum(counts.values()) != 1:
        raise Wrong(f"the CPU waits for the GPU {dict(counts)} times")
    return Found(f"{dict(counts)}, {graphs} graphs replayed", {**counts, "graphs": graphs})


def lay_out(model: Path, archive: Path) -> Path:
    """An archive as a worker finds it, unpacked; made with nothing but torch and transformers."""
    shutil.rmtree(archive, ignore_errors=True)
    archive.mkdir(parents=True)
    left_out = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "handler", archive / "handler", ignore=left_out)
    shutil.copytree(model, archive / "model")
    checksums.write(archive)
    return archive


def _start(first: Path, what: str, device: torch.device, **variables: str) -> subprocess.Popen[str]:
    """A process of worker.py that finds `handler` in the folder `first`."""
    environment = {
        **kit_environment(first),
        **variables,
        "PYTHONDONTWRITEBYTECODE": "1",  # an archive stays as it is
    }
    if device.type == "cpu":
        environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-m", "gpu_kit.worker", what, str(device), str(first)]
    return subprocess.Popen(
        command,
        cwd=first,  # Python looks there before it looks anywhere else
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _communicate(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its status, output and errors; Wrong where it does not end."""
    try:
        output, errors = process.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        raise Wrong(f"it had not ended after {_TIMEOUT} s: {errors.strip()[-300:]}") from None
    return process.returncode, output, errors


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    status, output, errors = _communicate(process)
    if status:
        raise Wrong(f"a worker ended with status {status}: {errors.strip()[-300:]}")
    return dict(json.loads(output.splitlines()[-1]))

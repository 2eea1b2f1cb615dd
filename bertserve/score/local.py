"""A job on this machine: a process for each GPU, or for a share of the cores, until all is done."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import Queue
from typing import Any

import pyarrow as pa

from ..archives import usual_workers
from ..errors import ConfigError
from .job import Done, Job
from .lines import Unreadable
from .parts import Part, read_part
from .processes import Options
from .scorer import Scorer

_TOKENIZERS = 4  # of a GPU at most
_SAMPLE_PARTS, _SAMPLE_ROWS = 8, 250  # of a job, of each of these parts


def shares(workers: int | None, options: Options) -> list[Options]:
    """What each process of this machine computes with; by default one a GPU, or as many as serve."""
    import torch

    from ..handler.engine import cpu_cores

    count, gpus, cores = workers or usual_workers(), torch.cuda.device_count(), cpu_cores()
    threads = max(1, cores // count)
    if not gpus:
        return [replace(options, threads=threads)] * count
    ahead = max(1, min(_TOKENIZERS, threads - 1))
    return [replace(options, gpu=number % gpus, tokenizers=ahead) for number in range(count)]


def run_here(job: Job, parts: Sequence[Part], workers: int | None = None) -> Iterator[Done]:
    """Score parts, and tell of each as it is done; a part at which processes keep dying is told too."""
    if not parts:
        return
    outcomes: Queue[Done | BaseException | None] = Queue()
    waiting, lock = deque(parts), threading.Lock()
    stopped = threading.Event()

    def taken() -> Iterator[Part]:
        while not stopped.is_set():
            with lock:
                if not waiting:
                    return
                part = waiting.popleft()
            yield part

    def work(scorer: Scorer) -> None:
        try:
            with scorer:
                for done in job.score(scorer, taken()):
                    outcomes.put(done)
            outcomes.put(None)
        except BaseException as error:  # told where it can be seen
            outcomes.put(error)

    options = shares(workers, job.scorer.options)[: len(parts)]
    scorers = [job.scorer.with_options(each) for each in options]
    with ThreadPoolExecutor(len(scorers)) as pool:
        try:
            for scorer in scorers:
                pool.submit(work, scorer)
            left = len(scorers)
            while left:
                outcome = outcomes.get()
                if isinstance(outcome, Done):
                    yield outcome
                elif outcome is None:
                    left -= 1
                else:
                    raise outcome
        finally:
            stopped.set()
            for scorer in scorers:
                scorer.end()


def measure(job: Job, workers: int | None = None) -> float:
    """Rows a second of this machine, by rows from all over the job; nothing is written."""
    every = max(1, len(job.parts) // _SAMPLE_PARTS)
    tables: list[pa.Table] = []
    for part in job.parts[::every][:_SAMPLE_PARTS]:
        try:
            table, _ = read_part(job.source.system, part, job.columns)
        except Unreadable:
            continue
        tables.append(table.slice(0, _SAMPLE_ROWS))
    if not tables:
        raise ConfigError("none of the files that were looked at can be read")
    options = shares(workers, job.scorer.options)
    barrier = threading.Barrier(len(options) + 1)

    def score(each: Options) -> int:
        with job.scorer.with_options(each) as scorer:
            scorer.start()
            for _ in scorer.scored(table.slice(0, 1) for table in tables[:1]):
                pass  # the tokenizer is loaded too
            barrier.wait()
            return sum(len(table) for table in scorer.scored(tables))

    with ThreadPoolExecutor(len(options)) as pool:
        running: list[Any] = [pool.submit(score, each) for each in options]
        for each in running:
            each.add_done_callback(lambda done: barrier.abort() if done.exception() else None)
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            for each in running:
                each.result()
        start = time.monotonic()
        rows = sum(each.result() for each in running)
        return float(rows / (time.monotonic() - start))

"""A job on Ray: the same parts by the same code, over a pool of actors, with Ray's own retries.

The archive goes to each node by Ray's object store. What is scored, and the results, must be where every
node can reach them: in object storage, or in a folder that all share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
import ray.exceptions

from ..errors import BertserveError, ConfigError, ServerError
from ..system import scratch_folder
from .job import Done, Job
from .parts import Part
from .summary import Summary

_SHOWN = 500  # characters of what Ray says
_CORES = 4  # of an actor without a GPU, unless the nodes have fewer


class PartScorer:
    """An actor: it scores parts, and has the model loaded from the first to the last."""

    def __init__(self, job: Job, archive: Any) -> None:
        self._running = ExitStack()
        folder = self._running.enter_context(scratch_folder("score"))
        here = folder / "archive.mar"
        here.write_bytes(ray.get(archive))
        self._job = job
        self._scorer = job.scorer.with_options(job.scorer.options, here)
        self._scorer.start()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What became of the parts of a batch."""
        parts = [_part(each) for each in batch["part"]]
        found = {
            done.part: {"summary": done.summary.as_json(), "problem": done.problem}
            for done in self._job.score(self._scorer, parts)
        }
        return {
            "part": batch["part"],
            "found": np.array([json.dumps(found[part]) for part in parts], dtype=object),
        }


def run_on_ray(
    job: Job, parts: Sequence[Part], address: str, workers: int | None = None
) -> Iterator[Done]:
    """Score parts, and tell of each as it is done.

    address   `auto`, that of a cluster, or `local` for one on this machine
    workers   actors at most; by default as many as GPUs, or as CPUs allow
    """
    if not parts:
        return
    try:
        ray.init(
            address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="WARNING"
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"there is no Ray at {address}: {said}") from error
    most, needs, threads = _pool(workers)
    scorer = job.scorer.with_options(replace(job.scorer.options, threads=threads))
    sent = replace(job, scorer=scorer, source=replace(job.source, files=[]), parts=[])
    archive = ray.put(Path(job.scorer.archive).read_bytes())
    told = [{"part": json.dumps(part.as_json())} for part in parts]
    found = ray.data.from_items(told, override_num_blocks=len(told)).map_batches(
        PartScorer,
        batch_size=1,
        fn_constructor_args=(sent, archive),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(parts))),
        **needs,
    )
    try:
        for row in found.iter_rows():
            outcome = json.loads(row["found"])
            yield Done(_part(row["part"]), Summary.read(outcome["summary"]), outcome["problem"])
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, OSError | BertserveError):  # a disk that is full, say
            raise cause from error
        said = " ".join(str(error).split())
        raise ServerError(f"Ray gave up: {said[-_SHOWN:]}") from error


def _pool(workers: int | None) -> tuple[int, dict[str, float], int | None]:
    """Actors at most, what each needs, and its threads."""
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    if gpus:
        return workers or gpus, {"num_gpus": 1}, None
    smallest = min(
        int(node["Resources"].get("CPU", 0)) or 1 for node in ray.nodes() if node["Alive"]
    )
    cores = min(_CORES, smallest)
    return workers or max(1, int(resources.get("CPU", 1)) // cores), {"num_cpus": cores}, cores


def _part(told: str) -> Part:
    values = json.loads(told)
    return Part(**{**values, "span": tuple(values["span"])})

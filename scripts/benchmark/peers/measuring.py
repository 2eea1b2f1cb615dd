"""Engines of others without a server: one JSON object, as benchmark/engine.py prints it."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Inputs = list[dict[str, Any]]


def measure(
    name: str,
    computes_in: str,
    jobs: Path,
    inputs_of: Callable[[str], dict[str, Any]],
    classify: Callable[[Inputs], list[int]],
) -> None:
    """Print texts in a second and labels of each job; texts have become inputs before."""
    calls = []
    for job in json.loads(jobs.read_bytes()):
        inputs = [inputs_of(text) for text in job["texts"]]
        labels = classify(inputs)
        seconds = []
        for _ in range(job["repeats"]):
            start = time.perf_counter()
            classify(inputs)
            seconds.append(time.perf_counter() - start)
        calls.append(
            {
                "workload": job["workload"],
                "texts": len(inputs),
                "seconds": seconds,
                "texts_per_second": len(inputs) / statistics.median(seconds),
                "labels": labels,
            }
        )
    print(json.dumps({"precision": name, "computes_in": computes_in, "calls": calls}))

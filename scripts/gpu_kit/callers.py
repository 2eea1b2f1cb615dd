"""Load over HTTP from a few processes; a connection sends its next request once it has an answer.

python -m gpu_kit.callers '{"host": …}'     one of these processes; prints what it saw
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .paths import kit_environment

_TIMEOUT = 60.0


@dataclass(frozen=True)
class Load:
    """What came back: answers with status 200, errors, and the milliseconds that answers took."""

    requests_per_second: float
    errors: int
    p50_ms: float
    p99_ms: float


def send(
    url: str, headers: Mapping[str, str], bodies: Sequence[str], connections: int, seconds: float
) -> Load:
    """POST the bodies, in turn, over so many connections for so many seconds."""
    processes = max(1, min(connections, len(os.sched_getaffinity(0)) // 4, 8))
    shares = [connections // processes] * processes
    shares[0] += connections - sum(shares)
    address = urlsplit(url)
    task = {
        "host": address.hostname,
        "port": address.port,
        "path": address.path,
        "headers": dict(headers),
        "bodies": list(bodies),
        "seconds": seconds,
    }
    running = [_start({**task, "connections": share}) for share in shares]
    seen = [json.loads(process.communicate(timeout=seconds + _TIMEOUT)[0]) for process in running]
    taken = sorted(second for each in seen for second in each["taken"])
    if not taken:
        return Load(0.0, sum(each["errors"] for each in seen), 0.0, 0.0)
    return Load(
        requests_per_second=sum(len(each["taken"]) / each["seconds"] for each in seen),
        errors=sum(each["errors"] for each in seen),
        p50_ms=1_000 * statistics.median(taken),
        p99_ms=1_000 * taken[min(len(taken) - 1, int(0.99 * len(taken)))],
    )


def _start(task: Mapping[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gpu_kit.callers"],
        env=kit_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps(task))
    process.stdin.close()
    process.stdin = None
    return process


async def _all(task: Mapping[str, Any]) -> dict[str, Any]:
    requests = [_request(task, body.encode()) for body in task["bodies"]]
    taken: list[float] = []
    errors = 0
    start = time.perf_counter()
    end = start + task["seconds"]

    async def call(number: int) -> None:
        nonlocal errors
        while time.perf_counter() < end:
            try:
                reader, writer = await asyncio.open_connection(task["host"], task["port"])
                try:
                    while (begun := time.perf_counter()) < end:
                        writer.write(requests[number % len(requests)])
                        number += 1
                        if not await asyncio.wait_for(_answered(reader), _TIMEOUT):
                            raise ConnectionError
                        taken.append(time.perf_counter() - begun)
                finally:
                    writer.close()
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError):
                errors += 1
                await asyncio.sleep(0.02)

    await asyncio.gather(*(call(7 * number) for number in range(task["connections"])))
    return {"taken": taken, "errors": errors, "seconds": time.perf_counter() - start}


def _request(task: Mapping[str, Any], body: bytes) -> bytes:
    headers = {
        "Host": f"{task['host']}:{task['port']}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **task["headers"],
    }
    lines = [f"POST {task['path']} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _answered(reader: asyncio.StreamReader) -> bool:
    """Read one answer; whether it is a success."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
    await reader.readexactly(length)
    return head.split(" ", 2)[1] == "200"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_all(json.loads(sys.stdin.read())))))

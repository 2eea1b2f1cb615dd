"""The load, from wrk: so many connections, each of which sends a text as soon as it has an answer."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 60  # seconds; an answer that takes longer counts as an error, `timeout`
_SCRIPT = Path(__file__).with_name("load.lua")
# a measurement goes on until each connection had about so many answers, but not for ever
_ANSWERS = 2
_LONGEST = 30


@dataclass(frozen=True)
class Load:
    """What came back in `seconds`.

    responses                       answers, whatever their status
    p50_ms, p99_ms                  milliseconds from a request to its answer
    refused                         answers with a status that is no success
    connect, read, write, timeout   requests without an answer
    """

    seconds: float
    responses: int
    p50_ms: float
    p99_ms: float
    refused: int
    connect: int
    read: int
    write: int
    timeout: int

    @property
    def requests_per_second(self) -> float:
        """Successful answers in a second."""
        return (self.responses - self.refused) / self.seconds

    @property
    def errors(self) -> int:
        """All that did not succeed."""
        return self.refused + self.connect + self.read + self.write + self.timeout


def parse(output: str) -> Load:
    """What wrk printed, the last line of which is our script's."""
    return Load(**json.loads(output.strip().splitlines()[-1]))


def send(
    url: str, headers: Mapping[str, str], bodies: Path, connections: int, seconds: int
) -> Load:
    """Put load on a server: POST the bodies of a file, one a line."""
    command = wrk(url, headers, bodies, connections, seconds)
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return parse(result.stdout)


def wrk(
    url: str, headers: Mapping[str, str], bodies: Path, connections: int, seconds: int
) -> list[str]:
    """The command; it ends early, with its figures, when it is interrupted."""
    command = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", f"{TIMEOUT}s", "--script", str(_SCRIPT)]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    return [*command, url, "--", str(bodies)]


def enough_seconds(wanted: int, connections: int, requests_per_second: float) -> int:
    """How long to measure: `wanted`, or longer where a slow server has many connections to answer.

    wrk forgets requests that are under way at its end, so each connection needs to have some behind it.
    """
    if not requests_per_second:
        return max(wanted, _LONGEST)
    return max(wanted, min(math.ceil(_ANSWERS * connections / requests_per_second), _LONGEST))

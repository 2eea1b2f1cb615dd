"""Results of a benchmark, as bench.json has them, small enough to check by hand."""

from __future__ import annotations

from typing import Any

RATES = {"float32": 100e9, "bfloat16": 400e9, "int8": 800e9}


def measurement(number: int, server: str, connections: int, rate: float) -> dict[str, Any]:
    return {
        "round": number,
        "server": server,
        "workload": "short",
        "connections": connections,
        "seconds": 5.0,
        "responses": round(5 * rate),
        "p50_ms": 10.0 * number,
        "p99_ms": 20.0 * number,
        "refused": 0,
        "connect": 0,
        "read": 0,
        "write": 0,
        "timeout": 0,
        "requests_per_second": rate,
        "errors": number - 1,
        "cpu_seconds": 9.0,
        "cpu_ms_per_request": 1.5,
        "peak_memory": 700_000_000,
    }


def results() -> dict[str, Any]:
    """Three rounds of three servers, and one that is absent."""
    rates = {
        "bertserve-auto": (300, 290, 400),
        "torchserve": (100, 90, 110),
        "litserve": (150, 150, 150),
    }
    titles = {
        "bertserve-auto": "bertserve (auto)",
        "torchserve": "TorchServe, ordinary handler",
        "litserve": "LitServe",
        "infinity": "infinity",
    }
    return {
        "date": "2000-01-01T00:00+00:00",
        "commit": "0123456789ab",
        "machine": {
            "cpu": "A Processor",
            "cores": 2,
            "flags": ["avx2"],
            "memory": 16_000_000_000,
            "system": "Linux 6",
            "load_average": 0.25,
        },
        "versions": {"python": "3.11.7", "wrk": "4.1.0"},
        "options": {
            "quick": False,
            "workloads": ["short"],
            "connections": [1, 64],
            "rounds": 3,
            "seconds": 5,
        },
        "workloads": {"short": {"texts": 3080, "mean_tokens": 15.07, "longest_tokens": 82}},
        "servers": {
            name: {
                "title": title,
                "packages": [f"{name}==1.0"] if name == "litserve" else [],
                "absent": "it cannot be installed" if name == "infinity" else None,
            }
            for name, title in titles.items()
        },
        "failures": [{"server": "litserve", "when": "in round 2", "reason": "it ended"}],
        "engine": [
            {
                "precision": "auto",
                "computes_in": "bfloat16",
                "threads": 2,
                "calls": [
                    {
                        "workload": "short",
                        "texts": 64,
                        "tokens": 960,
                        "seconds": [0.1],
                        "texts_per_second": 640.0,
                        "operations_per_second": 200e9,
                        "rates": [RATES, RATES],
                        "share": 0.5,
                    }
                ],
            }
        ],
        "measurements": [
            measurement(number, server, connections, rate)
            for server, rounds in rates.items()
            for connections in (1, 64)
            for number, rate in enumerate(rounds, 1)
        ],
    }

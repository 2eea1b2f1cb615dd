"""The autoscaler of scripts/fleet decides as Kubernetes' own does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from fleet_kit.scaling import Autoscaler

SPEC: dict[str, Any] = {
    "minReplicas": 1,
    "maxReplicas": 8,
    "metrics": [
        {"pods": {"metric": {"name": "waiting"}, "target": {"averageValue": "4"}}},
        {"pods": {"metric": {"name": "busy"}, "target": {"averageValue": "1"}}},
    ],
    "behavior": {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 30},
                {"type": "Pods", "value": 2, "periodSeconds": 30},
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 300,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
        },
    },
}


def samples(count: int, waiting: float, busy: float = 1.0) -> list[dict[str, float]]:
    return [{"waiting": waiting, "busy": busy}] * count


@pytest.mark.parametrize(
    ("replicas", "ready", "waiting", "busy", "expected"),
    [
        (2, 2, 4.0, 1.0, 2),  # as it shall be
        (2, 2, 4.3, 1.0, 2),  # nearly so
        (2, 2, 6.0, 1.0, 3),
        (2, 2, 1.0, 1.5, 3),  # the metric that wants more
        (2, 2, 90.0, 1.0, 4),  # no more than the policies allow
        (1, 1, 90.0, 1.0, 3),
        (4, 2, 6.0, 1.0, 4),  # what is not ready yet will take its share
        (4, 0, 0.0, 0.0, 4),  # nothing is known
        (8, 8, 90.0, 1.0, 8),
    ],
)
def test_up(replicas: int, ready: int, waiting: float, busy: float, expected: int) -> None:
    assert Autoscaler(SPEC).decide(0, replicas, samples(ready, waiting, busy)) == expected


def test_down_after_a_while_and_one_by_one() -> None:
    scaler = Autoscaler(SPEC)
    replicas, seen = scaler.decide(0, 3, samples(3, 8.0)), []
    assert replicas == 6
    for now in range(15, 900, 15):
        replicas = scaler.decide(now, replicas, samples(replicas, 0.0, 0.1))
        seen.append((now, replicas))
    assert {count for now, count in seen if now <= 300} == {6}
    changes = [at for at, _ in scaler.changes[1:]]
    assert seen[-1][1] == 1
    assert all(later - former >= 60 for former, later in pairwise(changes))


def test_a_short_pause_changes_nothing() -> None:
    scaler = Autoscaler(SPEC)
    for now in range(0, 600, 15):
        assert scaler.decide(now, 4, samples(4, 4.0 if now % 60 else 0.0)) == 4

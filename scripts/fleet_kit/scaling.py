"""An autoscaler: the formula of Kubernetes' HorizontalPodAutoscaler, over the gauges of the replicas.

desired = ceil(replicas * average / target), the most of all metrics; up and down as `behavior` allows.
Source: kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

EVERY = 15.0  # seconds between two evaluations
_TOLERANCE = 0.1  # of the ratio of average and target, within which nothing is changed


@dataclass
class Autoscaler:
    """What it decided so far: (seconds, replicas that the metrics wanted), (seconds, change)."""

    spec: Mapping[str, Any]  # of a HorizontalPodAutoscaler
    wanted: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    @property
    def targets(self) -> dict[str, float]:
        """Average that each metric shall have."""
        found = (each["pods"] for each in self.spec["metrics"])
        return {each["metric"]["name"]: float(each["target"]["averageValue"]) for each in found}

    def decide(self, now: float, replicas: int, samples: Sequence[Mapping[str, float]]) -> int:
        """Replicas from now on, where `samples` are the metrics of those that are ready."""
        wanted = max(
            _wanted(replicas, [each[name] for each in samples], target)
            for name, target in self.targets.items()
        )
        wanted = min(max(wanted, int(self.spec["minReplicas"])), int(self.spec["maxReplicas"]))
        self.wanted.append((now, wanted))
        found = self._allowed(now, replicas, self._stable(now, replicas, wanted))
        if found != replicas:
            self.changes.append((now, found - replicas))
        return found

    def _stable(self, now: float, replicas: int, wanted: int) -> int:
        """Down to the most that was wanted in the window, up to the least."""

        def window(direction: str) -> list[int]:
            seconds = self.spec["behavior"][direction]["stabilizationWindowSeconds"]
            return [each for at, each in self.wanted if at >= now - seconds]

        least, most = min(window("scaleUp")), max(window("scaleDown"))
        return min(max(replicas, least), most) if wanted != replicas else replicas

    def _allowed(self, now: float, replicas: int, wanted: int) -> int:
        """As far as the policies of the direction go."""
        up = wanted > replicas
        limits = []
        for policy in self.spec["behavior"]["scaleUp" if up else "scaleDown"]["policies"]:
            since = now - policy["periodSeconds"]
            changed = sum(by for at, by in self.changes if at > since and (by > 0) == up)
            before = replicas - changed
            by = int(policy["value"])
            if policy["type"] == "Percent":
                by = math.ceil(before * by / 100)
            limits.append(before + by if up else before - by)
        return min(wanted, max(limits)) if up else max(wanted, min(limits))


def _wanted(replicas: int, values: Sequence[float], target: float) -> int:
    """By one metric; a replica that is not ready yet has none, and counts as idle before it adds more."""
    if not values:
        return replicas
    ratio = sum(values) / len(values) / target
    if abs(ratio - 1) <= _TOLERANCE:
        return replicas
    if len(values) < replicas and ratio > 1:
        ratio = sum(values) / replicas / target
        if ratio <= 1 + _TOLERANCE:
            return replicas
        return math.ceil(ratio * replicas)
    return math.ceil(ratio * len(values))

"""What the chart of deploy/kubernetes says: which containers a pod has, and the files that they find.

chart = Chart.of(values)
chart.pods["replica"].main.command
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).resolve().parent.parent.parent / "deploy" / "kubernetes" / "bertserve"
NAME, NAMESPACE = "bertserve", "fleet"

Object = dict[str, Any]


@dataclass(frozen=True)
class ContainerSpec:
    """A container: its command, its environment, and what is mounted where, by the volumes' names."""

    name: str
    command: list[str]
    environment: dict[str, str]
    mounts: dict[str, str]
    before_stop: list[str]


@dataclass(frozen=True)
class PodSpec:
    """Containers in the order in which they start, and the files of each volume; none in an empty one."""

    init: list[ContainerSpec]
    beside: list[ContainerSpec]
    main: ContainerSpec
    volumes: dict[str, dict[str, str]]
    grace: float


@dataclass(frozen=True)
class Chart:
    """Pods by their component, and all objects."""

    pods: dict[str, PodSpec]
    objects: list[Object]

    @classmethod
    def of(cls, values: Object) -> Chart:
        """The chart with values, as `helm template` renders it."""
        with helm_python.Chart.load(str(CHART)) as chart:
            rendered = chart.render(values, name=NAME, namespace=NAMESPACE)
        objects = [
            each
            for path, text in rendered.items()
            if path.endswith(".yaml") and "/tests/" not in path
            for each in yaml.safe_load_all(text)
            if each
        ]
        pods = {
            each["metadata"]["labels"]["app.kubernetes.io/component"]: _pod(each, objects)
            for each in objects
            if each["kind"] == "Deployment"
        }
        return cls(pods, objects)

    def one(self, kind: str) -> Object:
        """The only object of a kind."""
        (found,) = (each for each in self.objects if each["kind"] == kind)
        return found

    @property
    def replicas_name(self) -> str:
        """The name that leads to all replicas, whole: HAProxy does not complete it."""
        (found,) = (
            each["metadata"]["name"]
            for each in self.objects
            if each["kind"] == "Service" and each["spec"].get("clusterIP") == "None"
        )
        return f"{found}.{NAMESPACE}.svc.cluster.local"


def _pod(deployment: Object, objects: list[Object]) -> PodSpec:
    spec = deployment["spec"]["template"]["spec"]
    first = spec.get("initContainers", [])
    (main,) = spec["containers"]
    return PodSpec(
        init=[_container(each) for each in first if each.get("restartPolicy") != "Always"],
        beside=[_container(each) for each in first if each.get("restartPolicy") == "Always"],
        main=_container(main),
        volumes={each["name"]: _files(each, objects) for each in spec.get("volumes", [])},
        grace=spec["terminationGracePeriodSeconds"],
    )


def _container(found: Object) -> ContainerSpec:
    stop = found.get("lifecycle", {}).get("preStop", {})
    wait = stop.get("sleep", {}).get("seconds")
    return ContainerSpec(
        found["name"],
        [*found["command"], *found.get("args", [])],
        {each["name"]: each["value"] for each in found.get("env", [])},
        {each["mountPath"]: each["name"] for each in found.get("volumeMounts", [])},
        ["sleep", str(wait)] if wait else stop.get("exec", {}).get("command", []),
    )


def _files(volume: Object, objects: Iterable[Object]) -> dict[str, str]:
    """Name and content of the files in a volume."""
    if "emptyDir" in volume:
        return {}
    if "configMap" in volume:
        return dict(_named("ConfigMap", volume["configMap"]["name"], objects)["data"])
    found = _named("Secret", volume["secret"]["secretName"], objects)
    coded = {name: base64.b64decode(text).decode() for name, text in found.get("data", {}).items()}
    return {**coded, **found.get("stringData", {})}


def _named(kind: str, name: str, objects: Iterable[Object]) -> Object:
    (found,) = (e for e in objects if (e["kind"], e["metadata"]["name"]) == (kind, name))
    return found

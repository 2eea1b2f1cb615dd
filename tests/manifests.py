"""Objects of Kubernetes: rendered from the chart, and validated so that no misspelt field passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

from documents import ROOT

CHART = ROOT / "deploy" / "kubernetes" / "bertserve"
RELEASE, NAMESPACE = "demo", "prod"
OLDEST, NEWEST = "1.30", "1.37"  # what Chart.yaml asks for, and what is known
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there is one
# kinds that Kubernetes does not have by itself, as far as we write them
_CUSTOM = yaml.safe_load((Path(__file__).parent / "deploy" / "custom_resources.yaml").read_text())

Object = dict[str, Any]

utils.schema_contents = cache(utils.schema_contents)  # megabytes, read for each object


def rendered(values: Mapping[str, Any], chart: Path = CHART) -> list[Object]:
    """The objects that Helm makes of the chart, with values that differ from its own."""
    import helm_python as helm

    with helm.Chart.load(chart) as loaded:
        files = loaded.render(dict(values), name=RELEASE, namespace=NAMESPACE)
    texts = (text for name, text in files.items() if name.endswith(".yaml"))
    return [found for text in texts for found in yaml.load_all(text, _LOADER) if found]


def validate(found: Object, version: str = NEWEST) -> None:
    """ValidationError where an object has a field that its kind has not, or a wrong value."""
    if schema := _CUSTOM.get(found["kind"]):
        jsonschema.Draft202012Validator(schema).validate(found)
        for behavior in _behaviors(found):
            _scaler(found["metadata"], behavior, version)
    else:
        kubernetes_validate.validate(found, version, strict=True)


def pod_of(spec: Object) -> Object:
    """A pod that has a specification, to validate that."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


def _behaviors(found: Object) -> Iterator[Object]:
    """What a kind that is not Kubernetes' own says of a HorizontalPodAutoscaler."""
    advanced = found["spec"].get("advanced")
    if advanced:
        yield advanced["horizontalPodAutoscalerConfig"]["behavior"]


def _scaler(metadata: Object, behavior: Object, version: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "replicas"}
    spec = {"scaleTargetRef": target, "maxReplicas": 2, "behavior": behavior}
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    kubernetes_validate.validate({**kind, "metadata": metadata, "spec": spec}, version, strict=True)


def one(objects: list[Object], kind: str, name: str) -> Object:
    """The only object of a kind and a name."""
    (found,) = [
        each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found

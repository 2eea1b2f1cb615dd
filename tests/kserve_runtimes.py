"""The objects of deploy/kserve, and a container of them as KServe would start it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from documents import ROOT

FOLDER = ROOT / "deploy" / "kserve"
_IMAGE = ROOT / "deploy" / "kubernetes" / "bertserve" / "files"


def objects() -> list[dict[str, Any]]:
    """All that stands in the files."""
    texts = (path.read_text() for path in sorted(FOLDER.glob("*.yaml")))
    return [found for text in texts for found in yaml.safe_load_all(text)]


def runtime(name: str) -> dict[str, Any]:
    """What a ClusterServingRuntime of that name says."""
    (found,) = [
        each
        for each in objects()
        if each["kind"] == "ClusterServingRuntime" and each["metadata"]["name"] == name
    ]
    spec: dict[str, Any] = found["spec"]
    return spec


@dataclass(frozen=True)
class Started:
    """The command of a container, and its environment beside the usual one."""

    command: list[str]
    environment: dict[str, str]


def started(spec: dict[str, Any], service: str, models: Path, tmp: Path, *args: str) -> Started:
    """A runtime's container for an InferenceService, with three of its folders elsewhere.

    KServe fills the name in wherever `{{.Name}}` stands in a container, and puts the service's arguments
    behind those of the runtime. The image's configuration says what the chart's does.
    """
    text = json.dumps(spec["containers"][0]).replace("{{.Name}}", service)
    for inside, here in {"/tmp": tmp, "/mnt/models": models, "/etc/bertserve": _IMAGE}.items():
        text = re.sub(rf"(?<=[ >\"]){inside}(?=[/ ])", str(here), text)
    container = json.loads(text)
    return Started(
        [*container["command"], *container["args"], *args],
        {each["name"]: each["value"] for each in container["env"]},
    )

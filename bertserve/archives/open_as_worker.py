"""Open an unpacked archive as a TorchServe worker does, and classify a text.

Run as a program, with the archive's folder as its argument, as working directory and as PYTHONPATH, the
way TorchServe runs its own workers. The last line of its output is one JSON object: {"description"} of
the model, or {"error"}, the reason why it does not load.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

# like TorchServe's worker: this file's own folder must not shadow the archive's modules
sys.path = [entry for entry in sys.path if entry != str(Path(__file__).resolve().parent)]

import ts
from ts.context import RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory

ALONE = {"text": "Does it answer?"}
PAIR = {**ALONE, "text_pair": "It does."}


def open_archive(folder: str) -> dict[str, Any]:
    """The description of the model that classified a text."""
    manifest = json.loads((Path(folder) / "MAR-INF" / "MANIFEST.json").read_bytes())["model"]
    metrics = MetricsCacheYamlImpl(str(Path(ts.__file__).parent / "configs" / "metrics.yaml"))
    metrics.initialize_cache()
    metrics.model_name = manifest["modelName"]
    service = ModelLoaderFactory.get_model_loader().load(
        manifest["modelName"], folder, manifest["handler"], None, 1, None, True, metrics
    )
    description = ask(service, {}, {"describe": "True"})
    body = json.dumps(PAIR if description["pairs"] else ALONE).encode()
    headers: dict[str, Any] = {"url_path": "", "body": {"content-type": "application/json"}}
    answer = ask(service, {"body": body}, headers)
    if set(answer) != set(description["labels"]):
        raise RuntimeError(f"the model answered {sorted(answer)[:3]} and not all of its labels")
    return description


def ask(service: Any, row: dict[str, Any], headers: dict[str, Any]) -> dict[str, Any]:
    """The handler's answer to one row, as JSON."""
    service.context.request_processor = [RequestProcessor(headers)]
    answer: dict[str, Any] = json.loads(service._entry_point([row], service.context)[0])
    if "error" in answer:
        raise RuntimeError(answer["error"]["message"])
    return answer


def main() -> None:
    """Print the outcome as one line of JSON."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.ERROR)
    try:
        outcome: dict[str, Any] = {"description": open_archive(sys.argv[1])}
    except Exception as error:  # whatever keeps a worker from loading is the outcome
        outcome = {"error": " ".join(str(error).split())}
    sys.stdout.write("\n" + json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()

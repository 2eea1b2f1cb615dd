"""A process of its own, for what ends one and for what takes two.

python -m gpu_kit.worker fatal|classify|endure DEVICE FOLDER
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from handler.bert_handler import BertHandler
from handler.values import Encoding

from . import models

_SECONDS = {"cuda": 2.0, "cpu": 0.2}


class Context(SimpleNamespace):
    """TorchServe's context, as far as a handler asks for it."""

    def get_all_request_header(self, _: int) -> dict[str, Any]:
        """Those of a plain HTTP request."""
        return {"body": {"content-type": "application/json"}, "explain": "False", "url_path": ""}


def main() -> None:
    what, device, folder = sys.argv[1:]
    {"fatal": fatal, "classify": classify, "endure": endure}[what](
        torch.device(device), Path(folder)
    )


def fatal(device: torch.device, archive: Path) -> None:
    """Load an archive as TorchServe does, then classify while the GPU fails."""
    context = Context(
        system_properties={"model_dir": str(archive), "gpu_id": device.index},
        model_yaml_config={"handler": {"token_budget": 1_024}},
        model_name="tiny",
        manifest={"model": {"modelVersion": "1.0"}},
        metrics=None,
    )
    handler = BertHandler()
    handler.initialize(context)
    _spoil(handler, device)
    print(time.time(), flush=True)
    handler.handle([{"body": bytearray(b'{"text": "good film"}')}], context)
    print("answered")


def _spoil(handler: BertHandler, device: torch.device) -> None:
    """Have the GPU find out that something is wrong; on a CPU play that."""
    classifier = handler.pipeline.classifier
    forward = classifier._forward

    def fail(encodings: Sequence[Encoding]) -> torch.Tensor:
        if device.type == "cpu":
            raise torch.AcceleratorError("as a GPU's")
        torch._assert_async(torch.zeros(1, dtype=torch.bool, device=device))
        return forward(encodings)

    vars(classifier)["_forward"] = fail


def classify(device: torch.device, _: Path) -> None:
    """Classify the same texts again and again; print their logits, the rate and the memory taken."""
    on_gpu = device.type == "cuda"
    classifier = models.classifier(device)
    texts = models.texts([16, 128, 64, 3, 200] * (50 if on_gpu else 1))
    logits, _problems = classifier(texts)
    start, count = time.monotonic(), 0
    while (taken := time.monotonic() - start) < _SECONDS[device.type]:
        found, problems = classifier(texts)
        count += len(texts)
        if any(problems) or not torch.equal(found, logits):
            sys.exit("the same texts got other logits")
    result = {
        "logits": logits.tolist(),
        "texts_per_second": count / taken,
        "memory_bytes": torch.cuda.memory_reserved(device) if on_gpu else 0,
    }
    print(json.dumps(result))


def endure(device: torch.device, _: Path) -> None:
    """Classify many texts of random lengths in batches of random sizes; print memory at each tenth."""
    on_gpu = device.type == "cuda"
    classifier = models.classifier(device)
    classifier.warm_up(models.LONGEST)
    chance = random.Random(0)
    pool = models.texts([min(512, int(chance.lognormvariate(4.0, 0.8)) + 3) for _ in range(20_000)])
    total, count, start = (1_000_000 if on_gpu else 50), 0, time.monotonic()
    reserved, allocated = [], []
    for tenth in range(11):
        while count < total * tenth / 10:
            size = int(10 ** chance.uniform(0, 3.5)) if on_gpu else 5
            _logits, problems = classifier(chance.sample(pool, size))
            count += size
            if any(problems):
                sys.exit("texts were not answered")
        reserved.append(torch.cuda.memory_reserved(device) if on_gpu else 0)
        allocated.append(torch.cuda.memory_allocated(device) if on_gpu else 0)
    result = {
        "texts": count,
        "seconds": time.monotonic() - start,
        "reserved_bytes": reserved,
        "allocated_bytes": allocated,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""The door that TorchServe opens.

TorchServe imports this file by its bare name from the root of the unpacked archive, where the package
`handler` lies beside it; it takes the one class that is defined here.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

try:
    from handler import checksums, wire
    from handler.engine import choose_device
    from handler.errors import LoadError
    from handler.heartbeat import Heartbeat
    from handler.metrics import Reporter
    from handler.pipeline import Pipeline
    from handler.reader import read_in_large_pieces
    from handler.settings import read_settings
    from handler.torchserve import largest_answer
except ImportError as error:
    # TorchServe takes an ImportError for a missing file and hides it behind one of its own
    raise RuntimeError(f"the handler cannot be imported: {error}") from error

logger = logging.getLogger("handler")


def quieten_torchserve() -> None:
    """Leave TorchServe's metrics and our own lines in the log, not its line for every batch.

    TorchServe logs what a worker prints to stderr as warnings, so warnings go there.
    """
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for each in list(root.handlers):
        if isinstance(each, logging.StreamHandler) and each.stream is sys.stdout:
            each.addFilter(lambda record: record.levelno < logging.WARNING)
            warnings = logging.StreamHandler(sys.stderr)
            warnings.setLevel(logging.WARNING)
            root.addHandler(warnings)
    logging.getLogger("ts.metrics.caching_metric").setLevel(logging.INFO)
    logger.setLevel(logging.INFO)


class BertHandler:
    """Classifies the texts of a batch: rows in, rows out, one for one."""

    def initialize(self, context: Any) -> None:
        """Check and load the archive; a LoadError says in one sentence why it cannot be served."""
        wire.keep_bodies_raw()
        archive = Path(context.system_properties["model_dir"])
        if Path(checksums.__file__).resolve().parent != (archive / "handler").resolve():
            raise LoadError(
                f"another package named handler is in the way, {Path(checksums.__file__).parent}; "
                "take it out of PYTHONPATH"
            )
        digests = checksums.verify(archive)
        self.largest_answer = largest_answer()
        self.heartbeat = Heartbeat()
        config = context.model_yaml_config
        self.settings = read_settings(config.get("handler"))
        self.pipeline = Pipeline(
            archive / "model",
            self.settings,
            choose_device(context.system_properties["gpu_id"]),
            workers=config.get("minWorkers") or 1,
            # TorchServe kills a worker that does not answer in time, with all the requests of its batch
            time_limit=(config.get("responseTimeout") or 60) / 4,
        )
        self.description = {
            "model": context.model_name,
            "version": context.manifest["model"]["modelVersion"],
            **self.pipeline.describe(),
            "checksums": digests,
        }
        quieten_torchserve()
        if self.settings.buffered_reader:
            read_in_large_pieces()
        self.metrics = self.pipeline.metrics
        names = (self.description["model"], self.description["version"])
        Reporter(self.metrics, context.metrics, *names, self.pipeline.classifier.device).start()
        logger.info("serving %(model)s %(version)s on %(device)s", self.description)
        if wire.WRITER != "orjson":
            logger.warning("orjson is not installed: answers are written more slowly without it")

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer one batch; TorchServe calls this with the parameters of each request."""
        with self.heartbeat.busy():
            return self._answer(rows, context)

    def _answer(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        with self.metrics.time("wire"):
            batch = wire.read_rows(rows, context)
            requests = wire.read(batch, self.settings)
        try:
            predictions = self.pipeline(wire.texts(requests))
        except torch.AcceleratorError as error:
            # the GPU is lost to this process; TorchServe starts another when it ends
            logger.critical("the GPU failed, so the worker ends: %s", type(error).__name__)
            logging.shutdown()
            os._exit(1)
        with self.metrics.time("wire"):
            answers = wire.write(
                batch, requests, predictions, self.description, self.largest_answer
            )
            sent = wire.send(batch, [(each.status, each.content) for each in answers], context)
        self.metrics.count(
            [each.code for each in answers if each.code],
            [outcome for each in answers for outcome in each.outcomes],
        )
        return sent

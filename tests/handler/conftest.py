"""A loaded handler, as a worker of TorchServe has it."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import fakes
import handler
from bertserve.archives.packaging import lay_out
from handler.bert_handler import BertHandler


@pytest.fixture(scope="session")
def archive(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the tiny model as a worker finds it, unpacked."""
    root = tmp_path_factory.mktemp("unpacked") / "archive"
    lay_out(model_dir, root, "tiny", "1.0", "handler: {precision: float32}")
    # the tests import `handler` from the checkout, so that is the package of this archive
    shutil.rmtree(root / "handler")
    (root / "handler").symlink_to(Path(handler.__file__).parent)
    return root


@pytest.fixture(scope="session")
def loaded(archive: Path) -> tuple[BertHandler, Any]:
    """A handler that has loaded it, and its context."""
    context = fakes.make_context(archive)
    bert_handler = BertHandler()
    level = logging.getLogger().level
    bert_handler.initialize(context)
    logging.getLogger().setLevel(level)
    bert_handler.pipeline.explainer.share.advance = math.inf  # tests ask one after the other
    return bert_handler, context

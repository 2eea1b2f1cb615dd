"""Every part of the console at both widths and in both colours, as axe sees it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_parts import label_all, walk_through
from consoles import SCHEMES, WIDTHS, Visitor, chromium, running

from bertserve.serving.config import read_config
from bertserve.serving.starting import start
from serving import write_config


@pytest.fixture(scope="module")
def visitor(archives: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """In a console beside a server that serves 1.0, and has 2.0 in its model store."""
    config = write_config(tmp_path_factory.mktemp("looks"))
    store = config.parent / "store"
    store.mkdir()
    shutil.copy(archives[0], store)
    server = start(read_config(config), store)
    shutil.copy(archives[1], store)
    try:
        with chromium() as browser, running(config, "--manage") as console:
            yield Visitor(browser, console)
    finally:
        server.stop()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_walk_through_all_parts(
    width: int, scheme: str, visitor: Visitor, tmp_path: Path
) -> None:
    walk_through(visitor, width, scheme, label_all(tmp_path / "labelled.jsonl"))

"""A table of texts, its files, and jobs that score it: for tests of `bertserve score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import dataset

from bertserve.archives.packaging import package
from bertserve.handler.settings import Settings
from bertserve.score import Columns, Job, run_here
from once import made_once

ROWS = 6_000
WORDS = ("good", "bad", "film", "food", "great", "terrible", "the", "waiter")
EXACT = Settings(precision="float32")


def make_archive(model_dir: Path, factory: pytest.TempPathFactory) -> Path:
    """Of a tiny model, in float32."""

    def build(folder: Path) -> None:
        package(model_dir, name="tiny", version="1.0", output=folder, workers=1, settings=EXACT)

    return made_once(factory, "scored-archive", build) / "tiny-1.0.mar"


def text(number: int) -> str:
    return " ".join(WORDS[number // 8**place % 8] for place in range(1 + number % 7))


def make_table() -> pa.Table:
    return pa.table({"id": list(range(ROWS)), "body": [text(number) for number in range(ROWS)]})


def read(folder: Path) -> pa.Table:
    return dataset.dataset(folder, format="parquet").to_table()


def files(folder: Path) -> dict[str, bytes]:
    """The results; what a killed process was writing is hidden, and swept later."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!._]*"))}


def begin(archive: Path, data: Path, to: Path, **options: Any) -> Job:
    columns = options.pop("columns", Columns("body", keep=("id",)))
    return Job.begin(archive, str(data), str(to), columns, **options)


def score(archive: Path, data: Path, to: Path, **options: Any) -> Job:
    """A job that ran to its end."""
    job = begin(archive, data, to, **options)
    for done in run_here(job, job.missing()):
        assert not done.problem
    assert not job.missing()
    return job

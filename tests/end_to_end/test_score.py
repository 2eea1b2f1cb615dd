"""A Scorer's own processes say of tables what the handler says of requests."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from tables import EXACT, ROWS, begin, files, make_archive, make_table, score, text

from bertserve.errors import ConfigError, PackageError
from bertserve.handler.pipeline import Pipeline
from bertserve.handler.values import Prediction, Text
from bertserve.score import Options, Scorer


@pytest.fixture(scope="module")
def archive(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(model_dir, tmp_path_factory)


@pytest.fixture(scope="module")
def pipeline(model_dir: Path) -> Pipeline:
    return Pipeline(model_dir, EXACT, torch.device("cpu"))


def test_a_table_is_scored_as_the_handler_does(archive: Path, pipeline: Pipeline) -> None:
    with Scorer(archive, "body") as scorer:
        scored = scorer(make_table())
    assert scored["id"].to_pylist() == list(range(ROWS))
    right = scored["probabilities"].to_pylist()
    some = list(range(0, ROWS, 17))
    for number, expected in zip(some, pipeline([Text(text(n)) for n in some]), strict=True):
        assert isinstance(expected, Prediction)
        found = dict(zip(pipeline.labels, right[number], strict=True))
        assert found == pytest.approx(expected.probabilities, abs=1e-6)


def test_rows_are_kept_whatever_is_in_them(archive: Path) -> None:
    texts = ["good", None, "", " ", "x " * 2_000, "\u0007", "good"]
    with Scorer(archive) as scorer:
        found = scorer(pa.table({"text": texts, "label": list(range(7))}))
        again = scorer(pa.table({"text": pa.array([], pa.string())}))
        assert scorer.schema(pa.schema([("text", pa.string())])) == again.schema.remove_metadata()
    assert found["text"].to_pylist() == texts
    assert found["input_label"].to_pylist() == list(range(7))
    codes = [error and error["code"] for error in found["error"].to_pylist()]
    assert codes[:4] == [None, "missing_text", "empty_text", "empty_text"]
    assert found["truncated"].to_pylist()[4] is True
    assert found["probabilities"][0] == found["probabilities"][6]
    assert [label is None for label in found["label"].to_pylist()] == [c is not None for c in codes]


def test_options_are_those_of_requests(archive: Path, pipeline: Pipeline) -> None:
    long = "good film " * 200
    with Scorer(archive, options=Options(max_length=8, tokenizers=2)) as scorer:
        tables = [pa.table({"text": [long, text(n)]}) for n in range(5)]
        found = list(scorer.scored(tables))
    (expected,) = pipeline([Text(long, max_length=8)])
    assert isinstance(expected, Prediction)
    for each in found:
        assert each["truncated"].to_pylist() == [True, False]
        assert max(each["probabilities"][0].as_py()) == pytest.approx(expected.confidence, abs=1e-6)
    with Scorer(archive, options=Options(long_text="error")) as scorer:
        assert scorer(pa.table({"text": [long]}))["error"][0]["code"].as_py() == "text_too_long"


def test_a_scorer_can_be_sent_and_says_what_is_wrong(archive: Path, tmp_path: Path) -> None:
    with Scorer(archive) as scorer:
        scorer.start()
        sent = pickle.loads(pickle.dumps(scorer))
    with sent:
        (batch,) = sent.batches(pa.table({"text": ["good"]}).to_batches())
        assert batch.num_rows == 1
    with pytest.raises(ConfigError, match="the table has no column text, only other"):
        sent(pa.table({"other": ["x"]}))
    with pytest.raises(PackageError, match="does not exist"):
        Scorer(tmp_path / "nothing.mar")


def test_a_job_that_is_run_again_does_what_is_missing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertserve.score.job._FEWEST", 200)
    parquet.write_table(make_table().slice(0, 600), tmp_path / "data.parquet")
    job = score(archive, tmp_path / "data.parquet", tmp_path / "out")
    before = files(tmp_path / "out")
    assert len(before) == len(job.parts) == 3
    (tmp_path / "out" / job.name_of(job.parts[1])).unlink()
    again = score(archive, tmp_path / "data.parquet", tmp_path / "out")
    assert files(tmp_path / "out") == before
    assert again.summary().rows == 600
    with pytest.raises(ConfigError, match="--max-length was not given and is 9"):
        begin(
            archive,
            tmp_path / "data.parquet",
            tmp_path / "out",
            options=Options(max_length=9),
        )

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from bertserve import Pair
from bertserve.archives.packaging import package
from bertserve.errors import PackageError
from bertserve.handler.pipeline import Pipeline
from bertserve.handler.settings import Settings
from bertserve.handler.values import Prediction, Text
from bertserve.inputs import Input
from bertserve.quality.scores import score_archive, score_folder
from serving import spoil

SETTINGS = Settings(precision="float32", long_text="error")
INPUTS: list[Input] = [*tiny.TEXTS[:5], Pair(tiny.TEXTS[0], tiny.TEXTS[1])]


@pytest.fixture(scope="module")
def archive(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("store")
    return package(model_dir, name="tiny", version="1.0", output=output, settings=SETTINGS)


def test_an_archive_scores_as_its_handler_does(archive: Path, model_dir: Path) -> None:
    counted: list[int] = []
    found = score_archive(archive, INPUTS, counted.append)
    pipeline = Pipeline(model_dir, SETTINGS, torch.device("cpu"))
    texts = [
        Text(each) if isinstance(each, str) else Text(each.text, each.text_pair) for each in INPUTS
    ]
    for row, logits, expected in zip(
        found.probabilities, found.logits, pipeline(texts), strict=True
    ):
        assert isinstance(expected, Prediction)
        of_label = dict(zip(found.labels, row, strict=True))
        assert of_label == pytest.approx(expected.probabilities, abs=1e-6)
        assert logits == pytest.approx(expected.logits, abs=1e-4)
    assert (found.labels, found.independent) == (list(tiny.LABELS), False)
    assert counted == [1, 2, 3, 4, 5, 6]


def test_options_hold_for_all_texts(archive: Path) -> None:
    short = score_archive(archive, [tiny.TEXTS[2]], max_length=5, long_text="truncate")
    assert (short.logits != score_archive(archive, [tiny.TEXTS[2]]).logits).all()


def test_a_text_that_cannot_be_scored_is_named(archive: Path) -> None:
    with pytest.raises(PackageError, match="text 2 of 3 cannot be classified: the text has"):
        score_archive(archive, ["good", "good " * 99, "bad"])


def test_an_archive_that_does_not_load(archive: Path, tmp_path: Path) -> None:
    broken = tmp_path / archive.name
    broken.write_bytes(archive.read_bytes())
    spoil(broken, "model/config.json", b"{}", unnoticed=True)
    with pytest.raises(PackageError, match="the model cannot score texts: "):
        score_archive(broken, ["good"])


def test_a_handler_that_dies(tmp_path: Path) -> None:
    handler = tmp_path / "handler"
    handler.mkdir()
    (tmp_path / "model-config.yaml").write_text("handler: {}")
    for name in ("__init__", "device", "settings", "values"):
        (handler / f"{name}.py").write_text("import os; os._exit(3)")
    with pytest.raises(PackageError, match="the model cannot score texts: it died"):
        score_folder(tmp_path, ["good"])


def test_a_model_that_dies_on_the_way(archive: Path, monkeypatch: Any) -> None:
    from bertserve.quality import scores as scoring

    def half(answers: Any, _: Any) -> Any:
        yield next(answers)

    monkeypatch.setattr(scoring, "_counted", half)
    with pytest.raises(PackageError, match="died after 1 of 2 texts"):
        score_archive(archive, ["good", "bad"])

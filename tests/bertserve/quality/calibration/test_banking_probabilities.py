"""A real classifier: what calibration brings on texts that it did not see, and what it cannot mend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bertserve.archives.packaging import lay_out, model_config
from bertserve.handler.settings import Settings
from bertserve.quality.calibration.fitting import fit_and_judge, quality
from bertserve.quality.calibration.scaling import apply, fit
from bertserve.quality.calibration.thresholds import choose_levels
from bertserve.quality.datasets import Labelled, read_labelled
from bertserve.quality.scores import Scores, score_folder

Scored = tuple[Scores, Labelled]


@pytest.fixture(scope="module")
def scored(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scored]:
    """Texts that the model has seen in its training, and those of the test, with its logits."""
    root = tmp_path_factory.mktemp("banking") / "archive"
    model = shared / "models" / "banking77-minilm"
    lay_out(model, root, "banking", "1", model_config(1, 1, 1, Settings()))
    labels = list(json.loads((model / "config.json").read_bytes())["label2id"])
    train, test = (
        read_labelled(shared / "data" / "banking77" / f"{name}.csv", labels)
        for name in ("train", "test")
    )
    train = train.part(np.arange(0, len(train.texts), 10))
    scores = score_folder(root, [*train.texts, *test.texts])

    def of(rows: slice) -> Scores:
        part = scores.probabilities[rows]
        return replace(scores, logits=scores.logits[rows], probabilities=part)

    at = len(train.texts)
    return {"train": (of(slice(at)), train), "test": (of(slice(at, None)), test)}


def test_five_folds_of_unseen_texts(scored: dict[str, Scored]) -> None:
    scores, data = scored["test"]
    for coverage in (0.90, 0.95, 0.99):

        def levels(probabilities: np.ndarray, right: np.ndarray) -> dict[str, object]:
            return choose_levels(probabilities, right, 0.98, None, coverage, False)  # noqa: B023

        found = fit_and_judge(scores.logits, data.right, "temperature", levels, independent=False)
        origin = found["provenance"]
        assert origin["before"]["ece_width"] == pytest.approx(0.0367, abs=0.002)
        assert origin["before"]["nll"] == pytest.approx(0.293, abs=0.002)
        assert origin["after"]["ece_width"] <= 0.015
        assert origin["after"]["nll"] <= 0.26
        assert origin["after"]["accuracy"] == origin["before"]["accuracy"]
        assert origin["sets"]["coverage"] == pytest.approx(coverage, abs=0.015)
        assert origin["threshold"]["interval"][1] >= 0.98
        assert origin["threshold"]["precision"] >= 0.975
        assert origin["threshold"]["coverage"] > 0.7
        assert not origin["looks_seen"]


def test_texts_of_the_training_are_unfit(scored: dict[str, Scored]) -> None:
    """The model is right on all of them, so they ask for more confidence where less is needed."""
    scores, data = scored["train"]
    found = fit_and_judge(
        scores.logits, data.right, "temperature", lambda *_: {}, independent=False
    )
    assert found["provenance"]["looks_seen"]
    assert found["temperature"] < 1
    unseen, truth = scored["test"]
    worse = quality(apply(found, unseen.logits, independent=False), truth.right, independent=False)
    assert worse["ece_width"] > 0.04
    assert worse["nll"] > 0.3


def test_half_of_the_unseen_texts_mends_the_other_half(scored: dict[str, Scored]) -> None:
    scores, data = scored["test"]
    rows = np.random.default_rng(0).permutation(len(data.texts))
    one, other = rows[::2], rows[1::2]
    found = fit(scores.logits[one], data.right[one], "temperature", independent=False)
    before, after = (
        quality(
            apply(numbers, scores.logits[other], independent=False),
            data.right[other],
            independent=False,
        )
        for numbers in ({"method": "temperature", "temperature": 1.0}, found)
    )
    assert found["temperature"] == pytest.approx(1.43, abs=0.1)
    assert after["ece_width"] < before["ece_width"] / 1.5
    assert after["nll"] < before["nll"] - 0.02

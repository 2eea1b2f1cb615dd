"""A model that changes itself while it computes is put back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tiny
from handler.engine.state import State


@pytest.fixture
def model(model_dir: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(model_dir).eval()


def swap(modules: dict[str, Any], one: str, other: str) -> None:
    """The names of two, each value staying in its place."""
    names = {one: other, other: one}
    swapped = {names.get(name, name): module for name, module in modules.items()}
    modules.clear()
    modules.update(swapped)


def test_a_forward_of_a_usual_model_changes_nothing(model: Any) -> None:
    state = State(model)
    with torch.inference_mode():
        model(input_ids=torch.tensor([[2, 7, 3]]))
    assert state.restore() is False


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.bert.encoder, "attention_type", "original_full"),
        lambda model: setattr(model.bert.encoder.layer[1], "attention", torch.nn.Identity()),
        lambda model: setattr(model.config, "problem_type", "regression"),
        lambda model: model.bert.register_buffer("inv_freq", torch.ones(2)),
        lambda model: setattr(model.bert.embeddings, "position_ids", torch.ones(2)),
        lambda model: delattr(model.bert, "pooler"),
        lambda model: setattr(model.classifier, "weight", torch.nn.Parameter(torch.ones(3, 32))),
        lambda model: swap(model.bert.encoder.layer[0].attention.self._modules, "query", "key"),
    ],
    ids=[
        "attribute",
        "module",
        "config",
        "new buffer",
        "buffer",
        "deleted",
        "parameter",
        "swapped",
    ],
)
def test_what_was_changed_is_put_back(model: Any, change: Any) -> None:
    before = dict(model.named_modules()), model.state_dict(), model.config.to_dict()
    ids = torch.tensor([[2, 7, 3]])
    with torch.inference_mode():
        fresh = model(input_ids=ids).logits
    state = State(model)
    change(model)
    assert state.restore() is True
    assert state.restore() is False
    assert dict(model.named_modules()) == before[0]
    assert model.state_dict().keys() == before[1].keys()
    assert model.config.to_dict() == before[2]
    assert not hasattr(model.bert.encoder, "attention_type")
    with torch.inference_mode():
        assert torch.equal(model(input_ids=ids).logits, fresh)


def test_big_bird_reads_long_texts_as_a_fresh_one_after_a_short_one(tmp_path: Path) -> None:
    folder = tiny.make_model(tmp_path, "big_bird")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    long = torch.arange(200)[None] % 100 + 5
    state = State(model)
    with torch.inference_mode():
        fresh = model(input_ids=long).logits
        model(input_ids=long[:, :9])
        assert not torch.allclose(model(input_ids=long).logits, fresh, atol=1e-2)  # it does
        assert state.restore() is True
        assert torch.equal(model(input_ids=long).logits, fresh)

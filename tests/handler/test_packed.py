from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from handler.classifier import Classifier, load_model
from handler.packed import Packing, attend, pack
from handler.values import Encoding

CPU = torch.device("cpu")
PACKED = {"bert", "distilbert", "roberta", "xlm-roberta", "electra"}


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def texts(*lengths: int, vocabulary: int = 50) -> list[Encoding]:
    chance = random.Random(1)
    rows = [[chance.randrange(vocabulary) for _ in range(length)] for length in lengths]
    return [Encoding(row, [0] * len(row), False) for row in rows]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_architectures_that_can_are_packed_and_the_others_are_padded(
    architecture: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny.make_model(tmp_path / "m", architecture)
    padded = Classifier(load_model(folder, "float32"), CPU, 0)
    packed = Classifier(load_model(folder, "float32"), CPU, 0)
    with caplog.at_level("INFO", logger="handler.classifier"):
        packed.choose_forward(tiny.LONGEST)
    assert packed.forward == ("packed" if architecture in PACKED else "padded")
    assert ("is served with padding" in caplog.text) is (architecture not in PACKED)
    some = texts(3, 62, 7, 1, 7, 30, 7, 2)
    torch.testing.assert_close(packed(some)[0], padded(some)[0], atol=2e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_text_that_holds_the_padding_token_gets_the_same(
    architecture: str, tmp_path: Path
) -> None:
    folder = tiny.make_model(tmp_path / "m", architecture)
    padded = Classifier(load_model(folder, "float32"), CPU, 0)
    packed = Classifier(load_model(folder, "float32"), CPU, 0)
    packed.choose_forward(tiny.LONGEST)
    some = [Encoding([0, 1, 7, 1, 8, 2], [0] * 6, False), *texts(5, 9)]
    torch.testing.assert_close(packed(some)[0], padded(some)[0], atol=2e-5, rtol=0)


def test_each_text_attends_to_itself_alone() -> None:
    query, key, value = (torch.randn(1, 2, 7, 4) for _ in range(3))
    together, _ = attend(
        torch.nn.Identity(), query, key, value, None, packing=Packing([(2, 2), (1, 3)])
    )
    assert together.shape == (1, 7, 2, 4)
    for start, stop in ((0, 2), (2, 4), (4, 7)):
        q, k, v = (tensor[:, :, start:stop] for tensor in (query, key, value))
        alone = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(together[:, start:stop], alone.transpose(1, 2))


def test_a_model_that_would_answer_differently_is_left_as_it_was(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(model_dir, "float32")
    some = texts(5, 9)

    def alone() -> torch.Tensor:
        rows = [model(torch.tensor([text.input_ids])).logits for text in some]
        return torch.cat(rows)

    before = alone()
    packed, reason = pack(model, some, before + 1)
    assert packed is None
    assert reason.startswith("its logits differ by 1")

    def fail(*_: Any, **__: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(type(model), "forward", fail)
    assert pack(model, some, before) == (None, "KeyError")
    monkeypatch.undo()
    torch.testing.assert_close(alone(), before, atol=0, rtol=0)

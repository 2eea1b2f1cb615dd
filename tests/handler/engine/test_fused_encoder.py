"""An encoder in one call gives what its own modules give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from handler.engine.classifier import Classifier
from handler.engine.fused_encoder import FusedEncoder
from handler.engine.kernels.library import Kernels, kernels
from handler.engine.loading import keep_head_exact, quantize_model
from handler.values import Encoding

CPU = torch.device("cpu")
VOCABULARY, LONGEST = 50, 80
SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "max_position_embeddings": LONGEST + 2,
    "vocab_size": VOCABULARY,
    "num_labels": 7,
}
DISTILBERT = {"dim": 128, "n_layers": 3, "n_heads": 4, "hidden_dim": 192}


def texts(*lengths: int) -> list[Encoding]:
    rows = [torch.randint(2, VOCABULARY, (length,)).tolist() for length in lengths]
    return [Encoding(row, [0] * len(row), False) for row in rows]


@pytest.fixture(autouse=True)
def _tiles() -> Iterator[None]:
    library = kernels()
    if library is None or not library.has_tiles:
        pytest.skip("this CPU has no AMX")
    with torch.inference_mode():
        yield


def model(architecture: str, precision: str, **changes: Any) -> PreTrainedModel:
    """Random weights, large enough that each step counts."""
    sizes = {**SIZES, **(DISTILBERT if architecture == "distilbert" else {}), **changes}
    torch.manual_seed(0)
    made: PreTrainedModel = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(architecture, **sizes)
    ).eval()
    for parameter in made.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    made = quantize_model(made) if precision == "int8" else made.to(torch.bfloat16)
    keep_head_exact(made)
    return made


def logits(
    made: PreTrainedModel, some: list[Encoding], fused: bool, patch: pytest.MonkeyPatch
) -> torch.Tensor:
    """Of a classifier that is fused, or is not, and says so."""
    if not fused:
        patch.setattr(FusedEncoder, "__init__", lambda *_: (_ for _ in ()).throw(ValueError("no")))
    classifier = Classifier(made, CPU, 1)
    classifier.speed_up(LONGEST)
    patch.undo()
    assert classifier.forward == "packed"
    assert classifier.attention == ("encoder amx" if fused else "kernel amx")
    found, problems = classifier(some)
    assert not any(problems)
    return found


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize(
    "architecture", ["bert", "distilbert", "roberta", "xlm-roberta", "camembert", "electra"]
)
def test_it_is_what_its_modules_are(
    architecture: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lengths in [(1,), (80,), (3, 1, 80, 17, 16, 15, 2, 33), (1, 1, 1), (5,) * 70]:
        some = texts(*lengths)
        own = logits(model(architecture, precision), some, False, monkeypatch)
        fused = logits(model(architecture, precision), some, True, monkeypatch)
        assert own.std() > 0.1
        torch.testing.assert_close(fused, own, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_neighbours_change_nothing(precision: str) -> None:
    classifier = Classifier(model("bert", precision), CPU, 0)
    classifier.speed_up(LONGEST)
    assert classifier.attention == "encoder amx"
    some = texts(3, 1, 80, 17, 16, 15, 2, 33)
    alone = torch.cat([classifier([text])[0] for text in some])
    torch.testing.assert_close(classifier(some)[0], alone, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{"hidden_act": "relu"}, {"hidden_act": "gelu_new"}, {"intermediate_size": 200}],
)
def test_an_encoder_of_another_kind_stays_as_it_is(changes: dict[str, Any]) -> None:
    classifier = Classifier(model("bert", "bfloat16", **changes), CPU, 0)
    classifier.speed_up(LONGEST)
    assert classifier.attention == "kernel amx"
    assert classifier(texts(3, 9))[0].isfinite().all()


def test_heads_of_any_size_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    some = texts(3, 80, 17)
    own = logits(model("bert", "bfloat16", num_attention_heads=8), some, False, monkeypatch)
    fused = logits(model("bert", "bfloat16", num_attention_heads=8), some, True, monkeypatch)
    torch.testing.assert_close(fused, own, atol=1e-6, rtol=1e-6)


def test_one_that_would_answer_differently_is_put_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = model("bert", "bfloat16")
    encoder = made.base_model.encoder
    encode = Kernels.encode
    monkeypatch.setattr(Kernels, "encode", lambda *_: encode(*_) + 1)
    classifier = Classifier(made, CPU, 0)
    with caplog.at_level("INFO", logger="handler.engine.classifier"):
        classifier.speed_up(LONGEST)
    assert "keeps its own encoder: its logits would differ by" in caplog.text
    assert made.base_model.encoder is encoder
    assert classifier.attention == "kernel amx"

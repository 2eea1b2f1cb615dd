"""An encoder in one call gives what its own modules give."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from compiled import missing, needs_kernels, usable_build
from handler.engine.classifier import Classifier
from handler.engine.fused_encoder import FusedEncoder
from handler.engine.kernels import BUILDS, FOLDER, kernels
from handler.engine.kernels.library import Kernels
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
OF_ITS_OWN: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 128, "n_layers": 3, "n_heads": 4, "hidden_dim": 192},
    "albert": {"embedding_size": 64, "hidden_act": "gelu", "num_hidden_groups": 2},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
    "modernbert": {"local_attention": 16, "pad_token_id": 0, "classifier_pooling": "mean"},
}
KINDS = "bert distilbert roberta xlm-roberta camembert electra albert mpnet deberta-v2".split()


def texts(*lengths: int) -> list[Encoding]:
    rows = [torch.randint(2, VOCABULARY, (length,)).tolist() for length in lengths]
    return [Encoding(row, [0] * len(row), False) for row in rows]


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernels]:
    """Each that this CPU can run, in the place of the best one."""
    found = usable_build(request.param)
    for module in ("attention", "classifier", "loading"):
        monkeypatch.setattr(f"handler.engine.{module}.kernels", lambda: found)
    with torch.inference_mode():
        yield found


@pytest.fixture(params=["bfloat16", "int8"])
def precision(request: pytest.FixtureRequest, build: Kernels) -> str:
    if request.param == "bfloat16" and not build.multiplies_bfloat16:
        pytest.skip(f"{build.name} multiplies no bfloat16")
    return str(request.param)


def model(architecture: str, precision: str, **changes: Any) -> PreTrainedModel:
    """Random weights, large enough that each step counts."""
    sizes = {**SIZES, **OF_ITS_OWN.get(architecture, {}), **changes}
    torch.manual_seed(0)
    made: PreTrainedModel = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(architecture, **sizes)
    ).eval()
    for parameter in made.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    if precision == "int8":
        made = quantize_model(made)
    elif precision == "bfloat16":
        made = made.to(torch.bfloat16)
    keep_head_exact(made)
    return made


def sped_up(made: PreTrainedModel, fused: bool, build: Kernels) -> Classifier:
    """A classifier that is fused, or is not, and says so."""
    classifier = Classifier(made, CPU, 1)
    with pytest.MonkeyPatch.context() as patch:
        if not fused:
            patch.setattr(FusedEncoder, "__init__", Mock(side_effect=ValueError("no")))
        classifier.speed_up(LONGEST)
    assert classifier.forward == "packed"
    assert classifier.attention == f"{'encoder' if fused else 'kernel'} {build.name}"
    return classifier


def logits(
    made: PreTrainedModel, some: list[Encoding], fused: bool, build: Kernels
) -> torch.Tensor:
    found, problems = sped_up(made, fused, build)(some)
    assert not any(problems)
    return found


def check(architecture: str, precision: str, build: Kernels) -> None:
    of_modules, fused = (
        sped_up(model(architecture, precision), way, build) for way in (False, True)
    )
    for lengths in [(1,), (80,), (3, 1, 80, 17, 16, 15, 2, 33), (1, 1, 1), (5,) * 70]:
        some = texts(*lengths)
        (own, none), (found, no_more) = of_modules(some), fused(some)
        assert not any([*none, *no_more])
        assert own.std() > 0.05
        torch.testing.assert_close(found, own, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_it_is_what_its_modules_are(architecture: str, precision: str, build: Kernels) -> None:
    check(architecture, precision, build)


@needs_kernels
@torch.inference_mode()
@pytest.mark.parametrize("architecture", KINDS)
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_of_each_architecture_it_is_what_its_modules_are(architecture: str, precision: str) -> None:
    best = kernels()
    assert best
    if precision == "bfloat16" and not best.multiplies_bfloat16:
        pytest.skip(f"{best.name} multiplies no bfloat16")
    check(architecture, precision, best)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_modernbert_is_as_near_to_float32_as_its_modules_are(
    pooling: str, precision: str, build: Kernels
) -> None:
    """transformers rounds angles and gates to bfloat16, which is done here once and behind them."""
    changes = {"classifier_pooling": pooling, "num_hidden_layers": 4}
    some = texts(3, 1, 80, 17, 16, 15, 2, 33, 79)
    exact, problems = Classifier(model("modernbert", "float32", **changes), CPU, 1)(some)
    assert not any(problems)
    own = logits(model("modernbert", precision, **changes), some, False, build)
    fused = logits(model("modernbert", precision, **changes), some, True, build)
    assert (fused - exact).norm() < 1.15 * (own - exact).norm()
    assert (own - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "mpnet", "modernbert"])
def test_neighbours_change_nothing(architecture: str, precision: str, build: Kernels) -> None:
    classifier = Classifier(model(architecture, precision), CPU, 0)
    classifier.speed_up(LONGEST)
    assert classifier.attention == f"encoder {build.name}"
    some = texts(3, 1, 80, 17, 16, 15, 2, 33)
    alone = torch.cat([classifier([text])[0] for text in some])
    torch.testing.assert_close(classifier(some)[0], alone, atol=1e-6, rtol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "mpnet", "modernbert"])
def test_int8_gives_the_same_bits_on_every_kind_of_cpu(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But on one with AMX, which adds the products of attention in another order."""
    some = texts(3, 1, 80, 17, 16, 15, 2, 33)
    found = []
    for name in sorted(set(BUILDS) - {"amx"}):
        if missing(name):
            continue
        library = Kernels(name, FOLDER / f"{name}.so")
        for module in ("attention", "classifier", "loading"):
            monkeypatch.setattr(f"handler.engine.{module}.kernels", lambda found=library: found)
        # ModernBERT's are turned by halves of 16
        for heads in (
            (4, 4) if architecture == "modernbert" else (4, 8)
        ):  # in pairs, where the CPU can, and in floats
            made = model(architecture, "int8", num_attention_heads=heads)
            found.append(logits(made, some, True, library))
    if len(found) < 4:
        pytest.skip("this CPU runs fewer than two of the builds")
    for one, another in zip(found, found[2:], strict=False):
        assert torch.equal(one, another)


@pytest.mark.parametrize(
    "changes",
    [{"hidden_act": "relu"}, {"hidden_act": "gelu_new"}, {"intermediate_size": 200}],
)
def test_an_encoder_of_another_kind_stays_as_it_is(changes: dict[str, Any], build: Kernels) -> None:
    classifier = Classifier(model("bert", "int8", **changes), CPU, 0)
    classifier.speed_up(LONGEST)
    assert classifier.attention == f"kernel {build.name}"
    assert classifier(texts(3, 9))[0].isfinite().all()


@pytest.mark.parametrize("heads", [8, 4, 2])  # of 16, 32 and 64 numbers
def test_heads_of_any_size_are_right(heads: int, build: Kernels) -> None:
    some = texts(3, 80, 17)
    own = logits(model("bert", "int8", num_attention_heads=heads), some, False, build)
    fused = logits(model("bert", "int8", num_attention_heads=heads), some, True, build)
    torch.testing.assert_close(fused, own, atol=1e-6, rtol=1e-6)


def test_weights_are_not_kept_twice(build: Kernels) -> None:
    made = model("modernbert", "int8")
    classifier = Classifier(made, CPU, 0)
    layers = [weakref.ref(layer) for layer in made.base_model.layers]
    classifier.speed_up(LONGEST)
    assert classifier.attention == f"encoder {build.name}"
    gc.collect()
    assert not any(layer() for layer in layers)
    assert classifier(texts(3, 80, 9))[0].isfinite().all()


def test_one_that_would_answer_differently_is_put_back(
    build: Kernels, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = model("bert", "int8")
    encoder = made.base_model.encoder
    encode = Kernels.encode
    monkeypatch.setattr(Kernels, "encode", lambda *_: encode(*_) + 1)
    classifier = Classifier(made, CPU, 0)
    with caplog.at_level("INFO", logger="handler.engine.classifier"):
        classifier.speed_up(LONGEST)
    assert "keeps its own encoder: its logits would differ by" in caplog.text
    assert made.base_model.encoder is encoder
    assert classifier.attention == f"kernel {build.name}"

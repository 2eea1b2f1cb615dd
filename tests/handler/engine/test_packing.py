from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

import tiny
from compiled import needs_kernels
from handler.engine.attention import choose_attention
from handler.engine.classifier import Classifier
from handler.engine.kernels import kernels
from handler.engine.loading import load_model
from handler.engine.modules import BatchInvariantLinear
from handler.values import Encoding

CPU = torch.device("cpu")
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
# for what distances do there are kernels, and nothing else
PACKED = set(tiny.ARCHITECTURES) - (set() if kernels() else {"deberta-v2", "mpnet"})


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
    with caplog.at_level("INFO", logger="handler.engine.classifier"):
        packed.speed_up(tiny.LONGEST)
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
    packed.speed_up(tiny.LONGEST)
    some = [Encoding([0, 1, 7, 1, 8, 2], [0] * 6, False), *texts(5, 9)]
    torch.testing.assert_close(packed(some)[0], padded(some)[0], atol=2e-5, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_number_of_tokens_is_right(model_dir: Path, precision: str) -> None:
    padded = Classifier(load_model(model_dir, precision), CPU, 0)
    packed = Classifier(load_model(model_dir, precision), CPU, 0)
    packed.speed_up(tiny.LONGEST)
    assert packed.forward == "packed"
    for longest in (1, 2, 15, 16, 17, 31, 32, 33, 63, 64):
        some = texts(longest, 1, longest)
        tolerance = 2e-5 if precision == "float32" else 0.15
        torch.testing.assert_close(packed(some)[0], padded(some)[0], atol=tolerance, rtol=0)


def of_random_weights(architecture: str, **changes: Any) -> PreTrainedModel:
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": tiny.LONGEST + 2,
        "vocab_size": 50,
        "num_labels": 3,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **{**sizes, **changes})
    made: PreTrainedModel = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in made.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


@needs_kernels
@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("gte", {}),  # a pooler within, and layers of no name that is known
        ("nomic_bert", {}),
        ("roberta-prelayernorm", {}),
        ("albert", {"embedding_size": 32, "inner_group_num": 2}),
        ("modernbert", {"intermediate_size": 100}),  # no whole tiles
        ("modernbert", {"num_attention_heads": 1}),
        ("modernbert", {"classifier_pooling": "mean", "local_attention": 2}),
        ("deberta-v2", {"relative_attention": True, "pos_att_type": ["c2p"]}),
        ("deberta-v2", {"relative_attention": True, "pos_att_type": [], "position_buckets": 4}),
        ("mpnet", {"relative_attention_num_buckets": 64}),
    ],
)
def test_others_of_their_kind_are_packed_too(architecture: str, changes: dict[str, Any]) -> None:
    padded = Classifier(of_random_weights(architecture, **changes), CPU, 0)
    packed = Classifier(of_random_weights(architecture, **changes), CPU, 0)
    packed.speed_up(tiny.LONGEST)
    assert packed.forward == "packed"
    some = texts(3, 62, 7, 1, 7, 30, 7, 2)
    alone = torch.cat([padded([text])[0] for text in some])
    torch.testing.assert_close(packed(some)[0], alone, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "changes", "reason"),
    [
        ("deberta-v2", {"relative_attention": True, "conv_kernel_size": 3}, "convolves"),
        ("deberta-v2", {"relative_attention": False}, "without its distances"),
        (
            "modernbert",
            {"rope_parameters": dict.fromkeys(("full_attention", "sliding_attention"), DYNAMIC)},
            "depend on the longest text",
        ),
    ],
)
def test_what_a_row_would_change_is_padded_and_the_log_says_why(
    architecture: str, changes: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier(of_random_weights(architecture, **changes), CPU, 0)
    with caplog.at_level("INFO", logger="handler.engine.classifier"):
        classifier.speed_up(tiny.LONGEST)
    assert classifier.forward == "padded"
    assert reason in caplog.text


@needs_kernels  # torch's products give others of a batch a say in the last bits
@pytest.mark.parametrize("architecture", sorted(PACKED))
def test_in_float32_a_text_gets_the_same_bits_whatever_others_there_are(
    architecture: str, tmp_path: Path
) -> None:
    deep: Any = {"hidden_dim" if architecture == "distilbert" else "intermediate_size": 1_536}
    folder = tiny.make_model(tmp_path / "m", architecture, **deep)
    classifier = Classifier(load_model(folder, "float32"), CPU, 0)
    classifier.speed_up(tiny.LONGEST)
    chance = random.Random(2)
    some = texts(*(chance.randrange(1, tiny.LONGEST) for _ in range(60)))
    together, _ = classifier(some)
    for size in (1, 2, 7, 16, 33):
        parts = [classifier(some[start : start + size])[0] for start in range(0, 60, size)]
        assert torch.equal(torch.cat(parts), together), size


def test_a_model_that_would_answer_differently_is_left_as_it_was(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier(load_model(model_dir, "float32"), CPU, 0)
    some = texts(5, 9)
    before, _ = classifier(some)

    def wrong(query: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.ones_like(query)

    monkeypatch.setattr("handler.engine.classifier.choose_attention", lambda *_: ("wrong", wrong))
    with caplog.at_level("INFO", logger="handler.engine.classifier"):
        classifier.speed_up(tiny.LONGEST)
    assert classifier.forward == "padded"
    assert "is served with padding: its logits would differ by" in caplog.text
    torch.testing.assert_close(classifier(some)[0], before, atol=1e-5, rtol=0)


def test_a_model_that_fails_so_is_left_as_it_was(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> torch.Tensor:
        raise KeyError("x")

    monkeypatch.setattr("handler.engine.classifier.choose_attention", lambda *_: ("fails", fail))
    classifier = Classifier(load_model(model_dir, "float32"), CPU, 0)
    with caplog.at_level("INFO", logger="handler.engine.classifier"):
        classifier.speed_up(tiny.LONGEST)
    assert classifier.forward == "padded"
    assert "is served with padding: KeyError" in caplog.text
    assert classifier(texts(5, 9))[0].isfinite().all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["deberta-v2", "mpnet", "modernbert"])
def test_wrong_attention_is_noticed_though_all_logits_are_the_same(
    architecture: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that forgets distances and windows, of a model that is sure of one label."""
    model = load_model(tiny.make_model(tmp_path / "m", architecture), precision)
    for parameter in model.classifier.parameters():
        parameter.zero_()
    name, attend = choose_attention(CPU, model.dtype)

    def forgets(query: Any, key: Any, value: Any, packing: Any, scaling: float, *_: Any) -> Any:
        return attend(query, key, value, packing, scaling)

    monkeypatch.setattr("handler.engine.classifier.choose_attention", lambda *_: (name, forgets))
    classifier = Classifier(model, CPU, 0)
    classifier.speed_up(tiny.LONGEST)
    assert classifier.forward == "padded"


def test_a_model_that_cannot_stand_padding_gets_none(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forward(self: Classifier, encodings: Sequence[Encoding]) -> torch.Tensor:
        lengths = [len(encoding.input_ids) for encoding in encodings]
        return padded(self, encodings) + max(lengths) - torch.tensor(lengths)[:, None]

    padded = Classifier._padded
    monkeypatch.setattr(Classifier, "_padded", forward)
    monkeypatch.setattr("handler.engine.classifier.choose_attention", lambda *_: ("none", None))
    classifier = Classifier(load_model(model_dir, "float32"), CPU, 0)
    with caplog.at_level("WARNING", logger="handler.engine.classifier"):
        classifier.speed_up(tiny.LONGEST)
    assert classifier.forward == "unpadded"
    assert "cannot stand padding" in caplog.text
    assert "would differ" in classifier.ways["padded"]
    assert classifier.ways["unpadded"] == "taken"
    some = texts(3, 9, 5, 9, 3, 1)
    alone = torch.cat([classifier([text])[0] for text in some])
    torch.testing.assert_close(classifier(some)[0], alone, atol=1e-5, rtol=0)


def test_an_encoder_that_gives_something_else_than_tokens_is_noticed_before_it_is_indexed(
    model_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU an index beyond a tensor would end the process."""
    model = load_model(model_dir, "float32")

    def drop_the_last(_: Any, __: Any, output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"][:, :-1]
        return output

    model.bert.encoder.register_forward_hook(drop_the_last)
    monkeypatch.setattr("handler.engine.packing._last_output", lambda _: None)  # nor is it narrowed
    classifier = Classifier(model, CPU, 0)
    with caplog.at_level("INFO", logger="handler.engine.classifier"):
        classifier.speed_up(tiny.LONGEST)
    assert "it computes something else than states of tokens" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (0, 3), (5, 7), (1, 2_048), (3, 2_049)])
def test_products_on_a_gpu_have_rows_enough_and_give_the_same(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    own = torch.nn.Linear(32, 8).to(dtype)
    values = torch.randn(*shape, 32).to(dtype)
    found = BatchInvariantLinear(own)(values)
    assert found.shape == (*shape, 8)
    torch.testing.assert_close(
        found, own(values), atol=1e-6 if dtype == torch.float32 else 0.02, rtol=0.01
    )
    assert BatchInvariantLinear(own)(values.float()).dtype == dtype

"""What each precision promises, on a real classifier and real texts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from handler.engine.devices import choose_precision, multiplies_bfloat16, multiplies_int8
from handler.engine.loading import load_model
from handler.errors import LoadError
from handler.pipeline import Pipeline
from handler.settings import Settings
from handler.values import Prediction, Text

CPU = torch.device("cpu")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def probabilities(folder: Path, texts: list[str], **settings: Any) -> tuple[Pipeline, torch.Tensor]:
    """Of each text, [texts, labels] in the order of the model's labels."""
    pipeline = Pipeline(folder, Settings(**settings), CPU)
    results = pipeline([Text(text) for text in texts])
    assert all(isinstance(result, Prediction) for result in results)
    return pipeline, torch.tensor(
        [
            [result.probabilities[label] for label in pipeline.labels]
            for result in results
            if isinstance(result, Prediction)
        ]
    )


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "models" / "banking77-minilm"


@pytest.fixture(scope="module")
def banking(shared: Path) -> list[dict[str, str]]:
    return read(shared / "data" / "banking77" / "test.csv")[::3]


@pytest.fixture
def _bfloat16() -> None:
    if not multiplies_bfloat16(CPU):
        pytest.skip("this CPU does not multiply bfloat16")


@pytest.fixture
def _int8() -> None:
    if not multiplies_int8(CPU):
        pytest.skip("there is no kernel for int8 products here")


@pytest.fixture(scope="module")
def exact(model: Path, banking: list[dict[str, str]]) -> torch.Tensor:
    texts = [row["text"] for row in banking]
    return probabilities(model, texts, precision="float32", token_budget=2048)[1]


@pytest.mark.usefixtures("_bfloat16")
def test_bfloat16_keeps_labels_and_probabilities(
    model: Path, banking: list[dict[str, str]], request: pytest.FixtureRequest
) -> None:
    exact = request.getfixturevalue("exact")
    texts = [row["text"] for row in banking]
    pipeline, found = probabilities(model, texts, precision="auto", token_budget=2048)
    assert pipeline.precision == "bfloat16"
    assert (found.argmax(1) == exact.argmax(1)).float().mean() >= 0.998
    assert (found - exact).abs().max() <= 0.04


@pytest.mark.usefixtures("_int8")
def test_int8_keeps_labels_and_accuracy(
    model: Path, banking: list[dict[str, str]], request: pytest.FixtureRequest
) -> None:
    exact = request.getfixturevalue("exact")
    texts = [row["text"] for row in banking]
    pipeline, found = probabilities(model, texts, precision="int8", token_budget=2048)
    right = torch.tensor([pipeline.labels.index(row["category"]) for row in banking])
    assert (found.argmax(1) == exact.argmax(1)).float().mean() >= 0.99
    accuracy, before = ((each.argmax(1) == right).float().mean() for each in (found, exact))
    assert abs(accuracy - before) <= 0.005


def test_long_texts_get_what_transformers_own_forward_gives(shared: Path, model: Path) -> None:
    lines = (shared / "data" / "movie_reviews" / "test.jsonl").read_text(encoding="utf-8")
    texts = [json.loads(line)["text"] for line in lines.splitlines()[:8]]
    pipeline, found = probabilities(model, texts, precision="float32")
    assert pipeline.classifier.forward == "packed"
    tokenizer = AutoTokenizer.from_pretrained(model)
    reference = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32)
    inputs = tokenizer(
        texts, padding=True, truncation=True, max_length=pipeline.max_length, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = reference(**inputs).logits.softmax(dim=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_auto_is_what_the_cpu_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_precision("auto", CPU) == "bfloat16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    monkeypatch.setattr("handler.engine.devices.kernels", lambda: None)
    assert choose_precision("auto", CPU) == "float32"
    ours = Mock(multiplies_bfloat16=True)  # of aarch64, say
    monkeypatch.setattr("handler.engine.devices.kernels", lambda: ours)
    assert choose_precision("auto", CPU) == "bfloat16"
    assert choose_precision("float16", CPU) == "float16"


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float32"), ((9, 0), "bfloat16")])
def test_auto_is_what_the_gpu_multiplies(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_precision("auto", torch.device("cuda:0")) == precision


def test_int8_without_a_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handler.engine.devices.kernels", lambda: None)
    with pytest.raises(
        LoadError, match="int8 needs a CPU with AVX2, or dot products.*--precision auto"
    ):
        choose_precision("int8", CPU)


@pytest.mark.usefixtures("_int8")
def test_int8_of_a_model_without_a_layer_for_it_is_refused(model_dir: Path) -> None:
    with pytest.raises(LoadError, match="none of the model's layers can be quantized"):
        load_model(model_dir, "int8")

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

import tiny
from handler.engine.classifier import Classifier
from handler.engine.loading import load_model, longest_input
from handler.errors import LoadError
from handler.values import Encoding

CPU = torch.device("cpu")


def encoding(*ids: int) -> Encoding:
    return Encoding(list(ids), [0] * len(ids), truncated=False)


TEXTS = [encoding(*([7] * length)) for length in (3, 17, 5, 17, 1, 64, 2, 9)]


@pytest.fixture(scope="module")
def classifier(model_dir: Path) -> Classifier:
    return Classifier(load_model(model_dir, "float32"), CPU, pad_token_id=0)


def test_logits_come_in_the_order_of_the_texts(classifier: Classifier, model_dir: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(model_dir).eval()
    with torch.inference_mode():
        alone = [model(input_ids=torch.tensor([text.input_ids])).logits[0] for text in TEXTS]
    torch.testing.assert_close(classifier(TEXTS)[0], torch.stack(alone), atol=1e-5, rtol=0)


def test_a_smaller_budget_changes_no_answer(classifier: Classifier, model_dir: Path) -> None:
    frugal = Classifier(load_model(model_dir, "float32"), CPU, pad_token_id=0, token_budget=20)
    torch.testing.assert_close(frugal(TEXTS)[0], classifier(TEXTS)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_logits_are_float32_in_any_precision(model_dir: Path, precision: str) -> None:
    model = load_model(model_dir, precision)
    assert {str(weight.dtype) for weight in model.bert.encoder.parameters()} == {
        f"torch.{precision}"
    }
    assert model.classifier.weight.dtype == torch.float32  # logits are large
    logits, _ = Classifier(model, CPU, pad_token_id=0)(TEXTS)
    assert (logits.dtype, logits.shape) == (torch.float32, (len(TEXTS), 3))


def test_weights_stored_in_half_precision_are_served_in_float32(tmp_path: Path) -> None:
    folder = tiny.make_model(tmp_path / "model", dtype=torch.float16)
    path = folder / "model.safetensors"
    save_file(
        {name: value.half() for name, value in load_file(path).items()}, path, {"format": "pt"}
    )
    assert {parameter.dtype for parameter in load_model(folder, "float32").parameters()} == {
        torch.float32
    }


def test_warming_up_meets_every_length_up_to_the_longest(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[int] = []
    forward = classifier._forward

    def spy(encodings: list[Encoding]) -> torch.Tensor:
        met.extend(len(encoding.input_ids) for encoding in encodings)
        return forward(encodings)

    monkeypatch.setattr(classifier, "_forward", spy)
    classifier.warm_up(64)
    assert met == [64, 32, 16, 8, 4, 2, 1]


def test_an_encoder_without_a_head_is_refused(model_dir: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(model_dir).save_pretrained(tmp_path)
    with pytest.raises(LoadError, match="the weights lack .*classifier.*fine-tuned"):
        load_model(tmp_path, "float32")


def test_a_folder_without_weights_is_refused(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((model_dir / "config.json").read_bytes())
    with pytest.raises(LoadError, match="the model cannot be loaded"):
        load_model(tmp_path, "float32")


def test_a_pickle_is_never_loaded(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((model_dir / "config.json").read_bytes())
    torch.save(load_file(model_dir / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(LoadError, match="the model cannot be loaded"):
        load_model(tmp_path, "float32")


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_longest_input_is_that_of_the_positions(architecture: str, tmp_path: Path) -> None:
    model = load_model(tiny.make_model(tmp_path, architecture), "float32")
    assert longest_input(model, 10**30) == tiny.LONGEST
    assert longest_input(model, 10) == 10
    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.inference_mode():  # as long as that is really read
        reference(input_ids=torch.full((1, tiny.LONGEST), 7))


class ScarceMemory:
    """A forward that runs out of memory over so many tokens."""

    def __init__(self, classifier: Classifier, tokens: int) -> None:
        self.forward, self.tokens = classifier._forward, tokens
        self.computed: list[int] = []

    def __call__(self, encodings: list[Encoding]) -> torch.Tensor:
        tokens = sum(len(encoding.input_ids) for encoding in encodings)
        if tokens > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.computed.append(tokens)
        return self.forward(encodings)


def test_out_of_memory_halves_the_budget_and_all_are_answered(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier(load_model(model_dir, "float32"), CPU, pad_token_id=0, token_budget=400)
    expected, _ = classifier(TEXTS)
    monkeypatch.setattr(classifier, "_forward", ScarceMemory(classifier, 70))
    found, problems = classifier(TEXTS)
    assert problems == [None] * len(TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert classifier.token_budget <= 100
    assert classifier.out_of_memory >= 1
    assert "out of GPU memory" in caplog.text
    kept = classifier.token_budget
    classifier(TEXTS)
    assert classifier.token_budget == kept  # it was found before


def test_a_text_that_memory_never_suffices_for_is_an_error_of_its_own(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier(load_model(model_dir, "float32"), CPU, pad_token_id=0)
    expected, _ = classifier(TEXTS)
    monkeypatch.setattr(classifier, "_forward", ScarceMemory(classifier, 20))
    found, problems = classifier(TEXTS)
    assert [problem is not None for problem in problems] == [
        len(text.input_ids) == 64 for text in TEXTS
    ]
    problem = problems[5]
    assert problem is not None
    assert (problem.code, problem.status) == ("overloaded", 503)
    reached = [index for index, problem in enumerate(problems) if problem is None]
    torch.testing.assert_close(found[reached], expected[reached], atol=1e-5, rtol=0)


def test_the_token_budget_is_the_fastest_of_those_tried(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    seconds = {512: 1.0, 1_024: 0.51, 2_048: 0.5, 4_096: 0.7, 8_192: 0.9}

    def call(_: object) -> None:
        clock[0] += seconds[classifier.token_budget]

    monkeypatch.setattr("handler.engine.classifier.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(Classifier, "__call__", lambda _, texts: call(texts))
    classifier.choose_token_budget(64)
    assert classifier.token_budget == 1_024  # within 3 % of the fastest, and others wait less


def test_threads_may_share_a_classifier(model_dir: Path) -> None:
    shared = Classifier(load_model(model_dir, "bfloat16"), CPU, pad_token_id=0)
    shared.speed_up(64)
    batches = [TEXTS[:number] for number in range(1, len(TEXTS) + 1)]
    alone = [shared(batch)[0] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            for (found, _problems), expected in zip(pool.map(shared, batches), alone, strict=True):
                torch.testing.assert_close(found, expected)

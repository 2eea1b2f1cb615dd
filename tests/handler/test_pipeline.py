import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import pipeline as hugging_face

import tiny
from handler.engine.attention import choose_attention
from handler.errors import LoadError, RequestError
from handler.pipeline import Pipeline
from handler.settings import Settings
from handler.values import Explain, Prediction, Text

EXACT = Settings(precision="float32")
CPU = torch.device("cpu")
PAIR = (tiny.TEXTS[0], tiny.TEXTS[1])


def reference(folder: Path) -> list[dict[str, float]]:
    """What transformers' own pipeline answers to each text alone, unpadded, and to the pair."""
    pipe = hugging_face("text-classification", model=str(folder), dtype=torch.float32)
    inputs = [*tiny.TEXTS, {"text": PAIR[0], "text_pair": PAIR[1]}]
    answers = [pipe([text], top_k=None, truncation=True)[0] for text in inputs]
    return [{item["label"]: item["score"] for item in answer} for answer in answers]


def maps(results: list[Prediction | RequestError]) -> list[dict[str, float]]:
    assert all(isinstance(result, Prediction) for result in results), results
    return [result.probabilities for result in results if isinstance(result, Prediction)]


TEXTS = [*(Text(text) for text in tiny.TEXTS), Text(*PAIR)]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_every_architecture_answers_as_transformers_own_pipeline(
    architecture: str, tmp_path: Path
) -> None:
    folder = tiny.make_model(tmp_path / "model", architecture)
    pipeline = Pipeline(folder, Settings(precision="float32", token_budget=80), CPU)
    results = pipeline(TEXTS)
    expected = reference(folder)
    for result, map_ in zip(maps(results), expected, strict=True):
        assert result == pytest.approx(map_, abs=1e-5)
    assert max(abs(a["positive"] - b["positive"]) for a in expected for b in expected) > 0.01
    assert [r.truncated for r in results if isinstance(r, Prediction)] == [False] * 5 + [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("labels", "problem_type", "activation"),
    [
        (tiny.LABELS, "multi_label_classification", "sigmoid"),
        (tiny.LABELS, "single_label_classification", "softmax"),
        (("relevant",), None, "sigmoid"),
    ],
)
def test_the_problem_type_decides_on_the_activation(
    tmp_path: Path, labels: tuple[str, ...], problem_type: str | None, activation: str
) -> None:
    folder = tiny.make_model(tmp_path / "m", labels=labels, problem_type=problem_type)
    pipeline = Pipeline(folder, EXACT, CPU)
    assert pipeline.describe()["activation"] == activation
    assert pipeline.describe()["problem_type"] == (problem_type or "single_logit")
    for result, map_ in zip(maps(pipeline(TEXTS)), reference(folder), strict=True):
        assert result == pytest.approx(map_, abs=1e-5)


class Broken(Exception):
    pass


def test_a_text_that_the_model_fails_on_fails_alone(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(model_dir, EXACT, CPU)
    expected = maps(pipeline(TEXTS[:2]))
    forward = pipeline.classifier._forward

    def fail_on_long_texts(encodings: list[Any]) -> torch.Tensor:
        if any(len(encoding.input_ids) > 50 for encoding in encodings):
            raise Broken("s3cret")
        return forward(encodings)

    monkeypatch.setattr(pipeline.classifier, "_forward", fail_on_long_texts)
    first, broken, second = pipeline([TEXTS[0], Text("good " * 60), TEXTS[1]])
    assert maps([first, second]) == [pytest.approx(map_, abs=1e-6) for map_ in expected]
    assert isinstance(broken, RequestError)
    assert broken.code == "internal_error"
    assert "a text could not be classified: Broken" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("error", [MemoryError, torch.AcceleratorError])
def test_what_is_no_text_s_fault_reaches_torchserve(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    pipeline = Pipeline(model_dir, EXACT, CPU)

    def fail(_: Any) -> torch.Tensor:
        raise error("out of order")

    monkeypatch.setattr(pipeline.classifier, "_forward", fail)
    with pytest.raises(error):
        pipeline(TEXTS)


def test_a_tokenizer_that_gives_no_token_types_gives_the_model_none(tmp_path: Path) -> None:
    folder = tiny.make_model(tmp_path / "m")
    path = folder / "tokenizer_config.json"
    names = ["input_ids", "attention_mask"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_input_names": names}))
    for result, map_ in zip(
        maps(Pipeline(folder, EXACT, CPU)(TEXTS)), reference(folder), strict=True
    ):
        assert result == pytest.approx(map_, abs=1e-5)


def test_labels_come_from_index_to_name_where_a_folder_has_one(
    model_dir: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_dir, tmp_path / "model")
    (folder / "index_to_name.json").write_text(json.dumps({"0": "gut", "1": "schlecht", "2": "so"}))
    assert Pipeline(folder, EXACT, CPU).labels == ["gut", "schlecht", "so"]


def test_errors_keep_their_places(model_dir: Path) -> None:
    pipeline = Pipeline(model_dir, EXACT, CPU)
    error = RequestError("empty_text", "empty")
    long = Text("good " * 200, long_text="error")
    results = pipeline([error, TEXTS[0], long, error, TEXTS[1]])
    assert results[0] is error
    assert results[3] is error
    assert isinstance(results[2], RequestError)
    assert maps([results[1], results[4]]) == [
        pytest.approx(map_, abs=1e-6) for map_ in maps(pipeline(TEXTS[:2]))
    ]


def test_what_takes_too_long_fails_alone_and_short_texts_come_first(model_dir: Path) -> None:
    pipeline = Pipeline(model_dir, Settings(token_budget=8), CPU, time_limit=0)
    late, first, also_late = pipeline([Text("good " * 40), TEXTS[0], Text("bad " * 30)])
    assert maps([first]) == [pytest.approx(maps(pipeline(TEXTS[:1]))[0], abs=1e-6)]
    for result in (late, also_late):
        assert isinstance(result, RequestError)
        assert (result.code, result.status) == ("overloaded", 503)


def test_nothing_but_errors_is_not_computed(model_dir: Path) -> None:
    pipeline = Pipeline(model_dir, EXACT, CPU)
    error = RequestError("empty_text", "empty")
    assert pipeline([error]) == [error]
    assert pipeline([]) == []


def test_describe_says_what_is_loaded(model_dir: Path) -> None:
    settings = Settings(precision="float32", max_length=32, threads=1, token_budget=512)
    described = Pipeline(model_dir, settings, CPU).describe()
    assert described == {
        "architecture": "BertForSequenceClassification",
        "labels": list(tiny.LABELS),
        "problem_type": "single_label_classification",
        "activation": "softmax",
        "pairs": False,
        "max_length": 32,
        "max_texts": 128,
        "precision": "float32",
        "forward": "packed",
        "attention": choose_attention(CPU, torch.float32)[0],
        "ways": {"modules": "taken", "head": "taken", "packed": "taken"},
        "device": "cpu",
        "threads": 1,
        "token_budget": 512,
        "out_of_memory": 0,
        "long_text": "truncate",
        "aggregation": "mean",
        "calibration": {"method": "none"},
    }


def test_a_model_of_pairs_answers_no_text_alone(model_dir: Path) -> None:
    """And its neighbours are answered as ever."""
    pipeline = Pipeline(model_dir, Settings(precision="float32", pairs=True, threads=1), CPU)
    explained = Text("good film", explain=Explain())
    found = pipeline([Text("good film"), Text("good film", "awful"), explained])
    alone, pair, also_alone = found
    assert isinstance(pair, Prediction)
    for each in (alone, also_alone):
        assert isinstance(each, RequestError)
        assert (each.code, each.status) == ("missing_text", 422)
        assert "text_pair" in each.message


def test_a_longest_input_beyond_the_model_s_is_refused(model_dir: Path) -> None:
    with pytest.raises(LoadError, match="max_length is 65; this model reads at most 64 tokens"):
        Pipeline(model_dir, Settings(max_length=65), CPU)

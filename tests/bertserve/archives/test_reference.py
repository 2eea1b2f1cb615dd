"""No archive is built that answers otherwise than transformers' own pipeline does."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

import handler.engine.classifier
import tiny
from bertserve.archives import reference
from bertserve.archives.reference import (
    TEXTS,
    Answer,
    Differs,
    check_answers,
    check_tokenizer,
    compare,
)
from handler.pipeline import Pipeline
from handler.settings import Settings
from handler.text.tokenizer import load_tokenizer
from handler.values import Prediction, Text

CPU = torch.device("cpu")
SETTINGS = Settings(precision="float32", token_budget=2048, threads=1)
LONG = "we loved the slow kitchen, and the ending of the story " * 30


def probabilities(pipeline: Pipeline, *texts: str) -> list[list[float]]:
    found = pipeline([Text(text) for text in texts])
    assert all(isinstance(each, Prediction) for each in found)
    return [
        [each.probabilities[label] for label in pipeline.labels]
        for each in found
        if isinstance(each, Prediction)
    ]


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model_dir, tmp_path / "model")


class TestAnswers:
    @pytest.mark.parametrize("architecture", ["bert", *tiny.OTHERS])
    def test_those_of_the_pipeline(self, architecture: str, tmp_path: Path) -> None:
        folder = tiny.make_model(tmp_path / "model", architecture)
        found = check_answers(Pipeline(folder, SETTINGS, CPU), folder)
        assert found["texts"] == len(TEXTS)
        assert found["largest_gap"] < 1e-5

    def test_token_types_that_no_tokenizer_gave_are_seen(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """GPT-2 takes them, and adds the embedding of token 0 to each place for zeros."""
        folder = tiny.make_model(tmp_path / "model", "gpt2")
        everything = ["input_ids", "attention_mask", "token_type_ids"]
        monkeypatch.setattr(handler.engine.classifier, "inputs_of", lambda *_: everything)
        with pytest.raises(Differs, match="pipeline says .* and the archive would say"):
            check_answers(Pipeline(folder, SETTINGS, CPU), folder)

    def test_a_model_that_earlier_texts_left_changed_is_seen(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """BigBird's sparse attention is gone after one short text."""
        folder = tiny.make_model(tmp_path / "model", "big_bird")
        pipeline = Pipeline(folder, SETTINGS, CPU)
        monkeypatch.setattr(pipeline.classifier._state, "restore", lambda: False)
        with pytest.raises(Differs, match="pipeline says .* and the archive would say"):
            check_answers(pipeline, folder)

    def test_a_pipeline_that_draws_at_random_has_none(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def noisy(_: Any, input_ids: Any, **__: Any) -> Any:
            assert input_ids is not None
            return SequenceClassifierOutput(logits=torch.rand(1, 3))

        monkeypatch.setattr(BertForSequenceClassification, "forward", noisy)
        with pytest.raises(Differs, match="another answer each time"):
            reference.expected(folder, CPU, tiny.LONGEST)


def test_a_model_that_says_the_same_of_all_texts_is_seen(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["bert.pooler.dense.weight"].zero_()
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(Differs, match="says the same of all texts"):
        reference.expected(folder, CPU, tiny.LONGEST)


def test_big_bird_s_long_texts_are_those_of_a_fresh_model_whatever_came_before(
    tmp_path: Path,
) -> None:
    folder = tiny.make_model(tmp_path / "model", "big_bird")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokens = load_tokenizer(folder)(LONG, truncation=True, return_tensors="pt")
    assert tokens["input_ids"].shape[1] == 256
    with torch.inference_mode():
        fresh = model(**tokens).logits.softmax(dim=1)[0].tolist()
    pipeline = Pipeline(folder, SETTINGS, CPU)
    for texts in ([LONG], ["good film"], ["good film", LONG], [LONG, "awful"]):
        found = dict(zip(texts, probabilities(pipeline, *texts), strict=True))
        assert found.get(LONG, fresh) == pytest.approx(fresh, abs=1e-5)


class TestCompare:
    SAME = [Answer([1.0, -20.0], [0.9, 0.1])] * len(TEXTS)

    def differs(self, changed: Answer | str) -> str:
        ours: list[Answer | str] = list(self.SAME)
        ours[3] = changed
        with pytest.raises(Differs) as raised:
            compare(self.SAME, ours)
        return str(raised.value)

    def test_rounding_is_no_difference(self) -> None:
        close = [Answer([1.0001, -20.001], [0.90001, 0.09999])] * len(TEXTS)
        assert compare(self.SAME, close) == {"texts": len(TEXTS), "largest_gap": 1e-5}

    @pytest.mark.parametrize(
        "answer",
        [
            Answer([1.0, -20.0], [0.8, 0.2]),
            Answer([1.0, -19.0], [0.9, 0.1]),  # a sure model's probabilities hide it
            Answer([float("nan"), -20.0], [0.9, 0.1]),
            Answer([1.0, -20.0], [float("nan"), 0.1]),
            Answer([1.0], [0.9]),
        ],
    )
    def test_one_text_is_enough(self, answer: Answer) -> None:
        message = self.differs(answer)
        assert TEXTS[3][0][:40] in message
        assert "is not built" in message

    def test_a_text_that_fails_here_alone_is_a_difference(self) -> None:
        assert "here it fails: too long" in self.differs("too long")

    def test_a_text_that_the_pipeline_cannot_read_is_a_difference_and_a_pair_is_not(self) -> None:
        one = next(index for index, (_, pair) in enumerate(TEXTS) if pair is None)
        two = next(index for index, (_, pair) in enumerate(TEXTS) if pair is not None)
        theirs: list[Answer | str] = list(self.SAME)
        theirs[two] = "TypeError: no pairs"
        assert compare(theirs, self.SAME)["texts"] == len(TEXTS) - 1
        theirs[one] = "IndexError: beyond"
        with pytest.raises(Differs, match="pipeline fails on .* beyond; give a --max-length"):
            compare(theirs, self.SAME)


class TestTokenizer:
    def differs(self, folder: Path) -> str:
        with pytest.raises(Differs, match=r"tokenizer.json and what transformers makes") as raised:
            check_tokenizer(folder, load_tokenizer(folder))
        return str(raised.value)

    def claim(self, folder: Path, tokenizer_class: str) -> None:
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "tokenizer_class": tokenizer_class}))

    def rewrite(self, folder: Path, **parts: Any) -> None:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        for name, part in parts.items():
            setattr(tokenizer, name, part)
        tokenizer.save(str(folder / "tokenizer.json"))

    @pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta"])
    def test_one_as_it_was_saved_is_what_transformers_makes(
        self, kind: str, tmp_path: Path
    ) -> None:
        folder = tiny.make_model(tmp_path, kind)
        check_tokenizer(folder, load_tokenizer(folder))

    def test_a_cased_one_alone_that_is_built_lower_cased(self, folder: Path) -> None:
        self.rewrite(folder, normalizer=normalizers.BertNormalizer(lowercase=False))
        (folder / "tokenizer_config.json").unlink()
        message = self.differs(folder)
        (folder / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "PreTrainedTokenizerFast"}'
        )
        assert '{"tokenizer_class": "PreTrainedTokenizerFast"}' in message  # and it helps
        check_tokenizer(folder, load_tokenizer(folder))

    @pytest.mark.parametrize(
        "parts",
        [
            {"normalizer": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])},
            {"normalizer": normalizers.BertNormalizer(lowercase=True, strip_accents=False)},
            {"pre_tokenizer": pre_tokenizers.Sequence(
                [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
            )},
            {"pre_tokenizer": pre_tokenizers.WhitespaceSplit()},
        ],
    )  # fmt: skip
    def test_own_normalizers_and_splitters_that_are_dropped(
        self, folder: Path, parts: dict[str, Any]
    ) -> None:
        self.rewrite(folder, **parts)
        check_tokenizer(folder, load_tokenizer(folder))
        self.claim(folder, "BertTokenizerFast")  # as transformers 4 wrote it
        self.differs(folder)

"""What of a folder would make probabilities wrong in silence stops the load."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

import tiny
from handler.engine.loading import UNLIMITED, check_vocabulary, inputs_of, load_model, longest_input
from handler.errors import LoadError
from handler.pipeline import Pipeline
from handler.settings import Settings
from handler.text.tokenizer import load_tokenizer

LAYER = "bert.encoder.layer.0"


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model_dir, tmp_path / "model")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def add_weights(folder: Path, *names: str) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path) | {name: torch.zeros(2, 2) for name in names}
    save_file(weights, path, {"format": "pt"})


class TestUnusedWeights:
    @pytest.mark.parametrize(
        "name",
        [
            f"{LAYER}.attention.self.distance_embedding.weight",  # relative positions
            "bert.encoder.layer.2.output.dense.weight",  # one more layer than config.json says
            f"{LAYER}.output.adapters.task.adapter_down.weight",
            f"{LAYER}.attention.self.query.lora_A.default.weight",
            "classifier.out_proj.weight",  # a larger head
            "dense.weight",
            "encoder_two.embeddings.word_embeddings.weight",
            "lm.head",  # close to a harmless one
        ],
    )
    def test_they_are_refused(self, folder: Path, name: str) -> None:
        add_weights(folder, name)
        with pytest.raises(LoadError, match="does not use as config.json describes it") as raised:
            load_model(folder, "float32")
        assert name in str(raised.value)

    @pytest.mark.parametrize(
        "name",
        [
            "bert.embeddings.position_ids",
            "cls.predictions.transform.dense.weight",
            "cls.seq_relationship.bias",
            "lm_head.dense.weight",
            "loss_fct.weight",
        ],
    )
    def test_known_harmless_ones_are_not(self, folder: Path, name: str) -> None:
        add_weights(folder, name)
        load_model(folder, "float32")

    def test_fewer_layers_than_were_trained_are_refused(self, folder: Path) -> None:
        edit(folder / "config.json", num_hidden_layers=1)
        with pytest.raises(LoadError, match=r"the weights hold bert.encoder.layer.1"):
            load_model(folder, "float32")


def test_too_few_label_names_are_told_from_the_weights(folder: Path) -> None:
    edit(folder / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(LoadError, match="name as many in id2label"):
        load_model(folder, "float32")


def test_old_names_of_layer_norms_are_read(folder: Path, model_dir: Path) -> None:
    """As BERT's own checkpoints of 2018 have them."""
    path = folder / "model.safetensors"
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in load_file(path).items()
    }
    assert any(name.endswith("gamma") for name in old)
    save_file(old, path, {"format": "pt"})
    expected = load_model(model_dir, "float32").state_dict()
    found = load_model(folder, "float32").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_token_beyond_the_embedding_is_named_before_a_text_has_it(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["<emoji>", "<user>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(LoadError, match=r"'<emoji>', '<user>'.*resize_token_embeddings"):
        Pipeline(folder, Settings(precision="float32"), torch.device("cpu"))


def test_embeddings_that_are_larger_than_the_vocabulary_are_fine(model_dir: Path) -> None:
    model = load_model(model_dir, "float32")
    check_vocabulary(model, {"a": 0})
    check_vocabulary(model, {"a": len(model.get_input_embeddings().weight) - 1})


@pytest.mark.parametrize(
    ("positions", "tokenizer_says", "longest"),
    [
        (64, UNLIMITED, 64),
        (64, 32, 32),
        (64, -1, 64),
        (64, 0, 64),
        (-1, 32, 32),  # as XLNet's configuration has it
        (0, 32, 32),
        (None, 32, 32),
        (-1, -1, UNLIMITED),
    ],
)
def test_no_limit_is_written_in_many_ways(
    model_dir: Path, positions: int | None, tokenizer_says: int, longest: int
) -> None:
    model = load_model(model_dir, "float32")
    vars(model.config)["max_position_embeddings"] = positions
    assert longest_input(model, tokenizer_says) == longest


def test_xlnet_s_limit_is_its_tokenizer_s_or_the_operator_s(tmp_path: Path) -> None:
    folder = tiny.make_model(tmp_path, "xlnet")
    cpu = torch.device("cpu")
    settings: dict[str, Any] = {"precision": "float32", "token_budget": 512}
    assert Pipeline(folder, Settings(**settings), cpu).max_length == tiny.LONGEST
    for without in (-1, 0, UNLIMITED):
        edit(folder / "tokenizer_config.json", model_max_length=without)
        with pytest.raises(LoadError, match="give it with `bertserve package --max-length`"):
            Pipeline(folder, Settings(**settings), cpu)
    assert Pipeline(folder, Settings(**settings, max_length=48), cpu).max_length == 48


def test_token_types_are_sent_where_a_tokenizer_gives_them(model_dir: Path, tmp_path: Path) -> None:
    bert = load_model(model_dir, "float32")
    assert inputs_of(bert, True) == ["input_ids", "attention_mask", "token_type_ids"]
    assert inputs_of(bert, False) == ["input_ids", "attention_mask"]
    distilbert = AutoModelForSequenceClassification.from_pretrained(
        tiny.make_model(tmp_path, "distilbert")
    )
    assert inputs_of(distilbert, True) == [
        "input_ids",
        "attention_mask",
    ]  # it has no place for them

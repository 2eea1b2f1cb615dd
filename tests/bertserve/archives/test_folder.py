"""What folders that people have lack is said in one sentence, and what can be loaded surely is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bertserve.archives.folder import check_folder, classifies_pairs, read_labels
from bertserve.archives.inspection import inspect
from bertserve.archives.packaging import package
from bertserve.errors import ConfigError, PackageError
from bertserve.quality import calibration


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model_dir, tmp_path / "model")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder: Path) -> str:
    with pytest.raises(PackageError) as raised:
        check_folder(folder)
    return str(raised.value)


def test_code_beside_an_architecture_of_transformers_is_not_needed(folder: Path) -> None:
    code = {"AutoModelForSequenceClassification": "modeling_mine.Mine"}
    edit(folder / "config.json", auto_map=code)
    check_folder(folder)
    edit(folder / "config.json", architectures=["MineForSequenceClassification"])
    assert "needs code of its own (auto_map in config.json)" in refused(folder)
    edit(folder / "config.json", architectures=["BertForSequenceClassification"], model_type="mine")
    assert "needs code of its own (auto_map in config.json)" in refused(folder)


class TestLabels:
    @pytest.mark.parametrize("content", ["{", "", "{'0': 'a'}", '{"0": "a",}'])
    def test_a_broken_index_to_name_is_named(self, folder: Path, content: str) -> None:
        (folder / "index_to_name.json").write_text(content)
        message = refused(folder)
        assert "index_to_name.json is no JSON; write" in message
        assert str(folder) in message

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ({"a": 0, "b": 1, "c": 2}, "begins with 'a', which is no number; make it like"),
            (["a", "b", "c"], "is not a JSON object with id2label as another one"),
            (None, "have no names"),
        ],
    )
    def test_what_transformers_fails_on_is_named(
        self, folder: Path, names: Any, message: str
    ) -> None:
        edit(folder / "config.json", id2label=names)
        assert message in refused(folder)

    def test_index_to_name_names_the_outputs(self, folder: Path) -> None:
        (folder / "index_to_name.json").write_text('{"0": "x", "1": "y", "2": "z"}')
        assert read_labels(folder) == (["x", "y", "z"], "softmax")


class TestCrossEncoder:
    @pytest.fixture
    def cross_encoder(self, folder: Path) -> Path:
        """As sentence-transformers writes one."""
        how = {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.1.0"}
        edit(folder / "config.json", sentence_transformers=how)
        return folder

    def test_it_is_served_as_a_model_of_pairs(self, cross_encoder: Path, tmp_path: Path) -> None:
        assert classifies_pairs(cross_encoder)
        built = package(cross_encoder, name="t", version="1", output=tmp_path / "store")
        assert inspect(built)["settings"] == {"pairs": True}

    def test_it_is_calibrated_on_pairs(self, cross_encoder: Path, tmp_path: Path) -> None:
        rows = [{"text": "good film", "label": "positive"}] * 60
        data = tmp_path / "data.jsonl"
        data.write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(ConfigError, match="is a CrossEncoder.*--pair-column"):
            calibration.calibrate(cross_encoder, data)

    def test_other_models_are_not_taken_for_one(self, folder: Path) -> None:
        assert not classifies_pairs(folder)

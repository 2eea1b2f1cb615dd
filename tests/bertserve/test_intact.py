from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bertserve.conversion import common_prefix
from bertserve.errors import PackageError
from bertserve.intact import check_files, weight_names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(
        {"module.a": torch.zeros(8), "module.b": torch.zeros(2)}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_whole_files_pass_and_their_weights_are_named(folder: Path) -> None:
    check_files(folder)
    assert sorted(weight_names(folder)) == ["module.a", "module.b"]


def test_a_cut_file_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(PackageError, match=r"model.safetensors is cut: it has .* bytes of"):
        check_files(folder)


def test_a_pointer_of_git_lfs_is_named(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    with pytest.raises(PackageError, match="pointer of Git LFS.*git lfs pull"):
        check_files(folder)


def test_a_missing_shard_and_a_missing_index_are_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(PackageError, match=r"no model.safetensors.index.json"):
        check_files(folder)
    index = '{"weight_map": {"module.a": "model-00002-of-00002.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(PackageError, match=r"lacks model-00002-of-00002.safetensors"):
        check_files(folder)


def test_a_setfit_model_and_broken_json_are_named(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(PackageError, match=r"tokenizer.json is no JSON"):
        check_files(folder)
    (folder / "model_head.pkl").write_bytes(b"x")
    with pytest.raises(PackageError, match=r"SetFit model \(model_head.pkl\)"):
        check_files(folder)


def test_only_a_prefix_that_all_names_have_is_taken_away() -> None:
    assert common_prefix(["module._orig_mod.a", "module._orig_mod.b"]) == "module._orig_mod."
    assert common_prefix(["model.a", "classifier.weight"]) == ""
    assert common_prefix([]) == ""

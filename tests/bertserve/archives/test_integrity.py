import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bertserve.archives.conversion import common_prefix
from bertserve.archives.integrity import check_files, weight_names
from bertserve.errors import PackageError


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


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "spiece.model", "vocab.txt"])
def test_a_pointer_of_git_lfs_is_named_whichever_file_it_stands_for(
    folder: Path, name: str
) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(PackageError, match=f"{name} is a pointer of Git LFS"):
        check_files(folder)


@pytest.mark.parametrize("size", [0, 7, 8, 20, 60])
def test_a_file_that_is_cut_within_its_header_is_named(folder: Path, size: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(PackageError, match=r"model.safetensors is cut or is no safetensors file"):
        check_files(folder)


def test_one_of_several_files_is_cut(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, content in zip(names, (whole, whole[:-1]), strict=True):
        (folder / name).write_bytes(content)
    index = json.dumps({"weight_map": {"module.a": names[0], "module.b": names[1]}})
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(PackageError, match=r"model-00002-of-00002.safetensors is cut: it has"):
        check_files(folder)


@pytest.mark.parametrize("name", ["model_head.pkl", "model_head.joblib", "config_setfit.json"])
def test_setfit_is_known_by_any_of_its_files(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"{}")
    with pytest.raises(PackageError, match=r"is a SetFit model"):
        check_files(folder)


def test_a_folder_of_parts_of_sentence_transformers_is_named(folder: Path) -> None:
    (folder / "modules.json").write_text("[]")
    check_files(folder)  # one that has a classifier beside it
    (folder / "config.json").unlink()
    with pytest.raises(PackageError, match=r"put together of parts by sentence-transformers"):
        check_files(folder)

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import model_archiver.manifest_components.manifest as archiver_manifest
import pytest
import torch
from safetensors.torch import load_file

import handler
import tiny
from bertserve.archives.inspection import inspect
from bertserve.archives.kernels import build
from bertserve.archives.packaging import BATCH_SIZE, classify_as_worker, package
from bertserve.errors import PackageError
from bertserve.handler.settings import Settings
from bertserve.system import Forkserver

HANDLER = Path(handler.__file__).parent


@pytest.fixture(scope="module")
def archive(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("store")
    return package(model_dir, name="tiny", version="1.0", output=output)


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(model_dir, tmp_path / "model")


def edit(path: Path, **changes: Any) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


class TestPackage:
    def test_the_archive_holds_the_handler_byte_for_byte(self, archive: Path) -> None:
        sources = {
            path.relative_to(HANDLER).as_posix(): path
            for path in HANDLER.rglob("*")
            if path.suffix in (".py", ".cpp", ".h")
        }
        with zipfile.ZipFile(archive) as contents:
            packed = {
                name.removeprefix("handler/"): contents.read(name)
                for name in contents.namelist()
                if name.startswith("handler/") and not name.endswith(".so")
            }
            assert contents.read("bert_handler.py") == sources["bert_handler.py"].read_bytes()
        assert packed == {name: path.read_bytes() for name, path in sources.items()}

    def test_the_archive_holds_model_and_tokenizer_and_no_pickle(
        self, archive: Path, model_dir: Path
    ) -> None:
        with zipfile.ZipFile(archive) as contents:
            names = [name for name in contents.namelist() if name.startswith("model/")]
            for name in names:
                assert contents.read(name) == (model_dir / Path(name).name).read_bytes()
        assert set(names) >= {
            f"model/{n}" for n in ("config.json", "model.safetensors", "tokenizer.json")
        }

    def test_the_manifest_is_that_of_torch_model_archiver(
        self, archive: Path, model_dir: Path, tmp_path: Path
    ) -> None:
        """The official tool, given the same parts, writes the same manifest but for the date."""
        with zipfile.ZipFile(archive) as contents:
            ours = json.loads(contents.read("MAR-INF/MANIFEST.json"))
            contents.extract("model-config.yaml", tmp_path)
        command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", "tiny"]
        command += ["--version", "1.0", "--handler", str(HANDLER / "bert_handler.py")]
        command += ["--extra-files", f"{HANDLER.parent / 'handler'},{model_dir}"]
        command += ["--config-file", str(tmp_path / "model-config.yaml")]
        command += ["--export-path", str(tmp_path)]
        subprocess.run(command, check=True, env={**os.environ, "TMPDIR": str(tmp_path)})
        with zipfile.ZipFile(tmp_path / "tiny.mar") as contents:
            theirs = json.loads(contents.read("MAR-INF/MANIFEST.json"))
        assert {**ours, "createdOn": None} == {**theirs, "createdOn": None}

    def test_no_bytecode_that_was_made_on_the_way_is_packed(self, archive: Path) -> None:
        assert "PYTHONDONTWRITEBYTECODE" not in os.environ
        with zipfile.ZipFile(archive) as contents:
            assert [name for name in contents.namelist() if "pycache" in name] == []

    def test_the_same_inputs_give_the_same_bytes(
        self, archive: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In another folder, by another user's umask, with files of another date, on another day."""

        class LaterDay(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> "LaterDay":
                return cls(2031, 12, 31, 23, 59, tzinfo=tz)

        for path in folder.iterdir():
            os.utime(path, (1_500_000_000, 1_500_000_000))
            path.chmod(0o600)
        monkeypatch.setattr(archiver_manifest, "datetime", LaterDay)
        monkeypatch.setattr(time, "time", lambda: 1_950_000_000.0)
        before = os.umask(0o077)
        try:
            again = package(folder, name="tiny", version="1.0", output=tmp_path / "elsewhere")
        finally:
            os.umask(before)
        assert again.read_bytes() == archive.read_bytes()

    def test_options_land_in_the_configuration_and_steps_are_reported(
        self, model_dir: Path, tmp_path: Path
    ) -> None:
        steps: list[str] = []
        settings = Settings(precision="bfloat16", threads=1, max_length=32)
        built = package(
            model_dir, name="t", version="2", output=tmp_path, workers=2, batch_size=4,
            max_batch_delay=7, settings=settings, report=steps.append,
        )  # fmt: skip
        found = inspect(built)
        assert (found["workers"], found["batch_size"], found["max_batch_delay"]) == (2, 4, 7)
        assert found["settings"] == {"precision": "bfloat16", "threads": 1, "max_length": 32}
        assert steps[-1] == "opening it as a TorchServe worker does"

    def test_the_same_archive_again_is_no_error_and_another_one_is(
        self, archive: Path, model_dir: Path, tmp_path: Path
    ) -> None:
        first = Path(shutil.copy(archive, tmp_path))
        options: Any = {"name": "tiny", "version": "1.0", "output": tmp_path}
        assert package(model_dir, **options) == first
        with pytest.raises(PackageError, match="there already with other content; .*--force"):
            package(model_dir, **options, batch_size=7)
        assert inspect(first)["batch_size"] == BATCH_SIZE
        package(model_dir, **options, batch_size=7, force=True)
        assert inspect(first)["batch_size"] == 7

    def test_labels_from_index_to_name_are_packed(self, folder: Path, tmp_path: Path) -> None:
        edit(folder / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
        (folder / "index_to_name.json").write_text('{"0": "x", "1": "y", "2": "z"}')
        built = package(folder, name="t", version="1", output=tmp_path / "store")
        assert inspect(built)["labels"] == ["x", "y", "z"]

    def test_sharded_weights_are_packed(self, folder: Path, tmp_path: Path) -> None:
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="20KB")
        shards = {path.name for path in folder.glob("model-*.safetensors")}
        assert len(shards) > 1
        built = package(folder, name="t", version="1", output=tmp_path / "store")
        assert shards < {Path(file["path"]).name for file in inspect(built)["files"]}

    def test_a_tokenizer_that_is_only_a_vocabulary_is_converted(
        self, folder: Path, tmp_path: Path
    ) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "does", "it"]
        (folder / "vocab.txt").write_text("\n".join(words))
        built = package(folder, name="t", version="1", output=tmp_path / "store")
        assert "model/tokenizer.json" in {file["path"] for file in inspect(built)["files"]}


class TestPickles:
    @pytest.fixture
    def pickled(self, folder: Path) -> Path:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        return folder

    def test_weights_that_are_only_a_pickle_are_not_taken_without_being_told(
        self, pickled: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(PackageError, match=r"pickle \(pytorch_model.bin\).*--convert-weights"):
            package(pickled, name="t", version="1", output=tmp_path / "store")

    def test_they_are_converted_to_the_same_numbers(
        self, pickled: Path, archive: Path, tmp_path: Path
    ) -> None:
        built = package(pickled, name="t", version="1", output=tmp_path, convert_weights=True)
        for path, name in ((built, "new"), (archive, "old")):
            with zipfile.ZipFile(path) as contents:
                contents.extract("model/model.safetensors", tmp_path / name)
        new, old = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("new", "old"))
        assert new.keys() == old.keys()
        assert all(torch.equal(new[name], old[name]) for name in old)

    def test_a_pickled_encoder_without_a_head_is_refused(
        self, pickled: Path, tmp_path: Path
    ) -> None:
        path = pickled / "pytorch_model.bin"
        weights = torch.load(path, weights_only=True)
        encoder = {name: value for name, value in weights.items() if "classifier" not in name}
        torch.save(encoder, path)
        with pytest.raises(PackageError, match="the weights lack classifier"):
            package(pickled, name="t", version="1", output=tmp_path, convert_weights=True)

    def test_a_pickle_that_runs_code_is_not_run(self, pickled: Path, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return (os.mkdir, (str(tmp_path / "ran"),))

        torch.save({"weight": Evil()}, pickled / "pytorch_model.bin")
        with pytest.raises(PackageError, match="cannot be converted"):
            package(pickled, name="t", version="1", output=tmp_path, convert_weights=True)
        assert not (tmp_path / "ran").exists()


class TestRefusals:
    """One sentence with what is missing, and nothing left behind."""

    def refused(self, folder: Path, output: Path, **options: Any) -> str:
        with pytest.raises(PackageError) as raised:
            package(folder, **{"name": "t", "version": "1", "output": output, **options})
        assert not list(output.glob("*")) if output.exists() else True
        return str(raised.value)

    def test_no_folder(self, tmp_path: Path) -> None:
        assert "is no folder" in self.refused(tmp_path / "missing", tmp_path / "store")

    def test_no_config(self, folder: Path, tmp_path: Path) -> None:
        (folder / "config.json").unlink()
        assert "has no config.json" in self.refused(folder, tmp_path / "store")

    @pytest.mark.parametrize("content", ["[]", "{", '"x"', '{"id2label": ["a", "b"]}'])
    def test_a_config_that_is_no_object(self, folder: Path, tmp_path: Path, content: str) -> None:
        (folder / "config.json").write_text(content)
        assert "is not a JSON object" in self.refused(folder, tmp_path / "store")

    def test_no_weights(self, folder: Path, tmp_path: Path) -> None:
        (folder / "model.safetensors").unlink()
        assert "has no weights" in self.refused(folder, tmp_path / "store")

    def test_no_tokenizer(self, folder: Path, tmp_path: Path) -> None:
        (folder / "tokenizer.json").unlink()
        assert "has no tokenizer.json" in self.refused(folder, tmp_path / "store")

    @pytest.mark.parametrize("names", [{"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, {}, None])
    def test_labels_without_names(self, folder: Path, tmp_path: Path, names: Any) -> None:
        edit(folder / "config.json", id2label=names)
        message = self.refused(folder, tmp_path / "store")
        assert "labels" in message
        assert "index_to_name.json" in message

    def test_labels_that_do_not_fit_the_outputs(self, folder: Path, tmp_path: Path) -> None:
        (folder / "index_to_name.json").write_text('{"0": "only one"}')
        assert "names 1 labels, the model has 3 outputs" in self.refused(folder, tmp_path / "store")

    def test_code_of_its_own(self, folder: Path, tmp_path: Path) -> None:
        code = {"AutoModel": "evil.Model"}
        edit(folder / "config.json", auto_map=code, architectures=["EvilModel"])
        assert "code of its own" in self.refused(folder, tmp_path / "store")

    def test_a_regression(self, folder: Path, tmp_path: Path) -> None:
        edit(folder / "config.json", problem_type="regression")
        assert "no probabilities" in self.refused(folder, tmp_path / "store")

    def test_an_encoder_without_a_head(self, folder: Path, tmp_path: Path) -> None:
        from transformers import AutoModel

        AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "encoder")
        shutil.copy(tmp_path / "encoder" / "model.safetensors", folder)
        assert "the weights lack classifier" in self.refused(folder, tmp_path / "store")

    def test_damaged_weights(self, folder: Path, tmp_path: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
        assert "is cut or is no safetensors file" in self.refused(folder, tmp_path / "store")

    @pytest.mark.parametrize("name", ["", "a b", "../x", ".x", "a/b", "ä", "a..b"])
    def test_a_name_that_no_url_can_hold(self, folder: Path, tmp_path: Path, name: str) -> None:
        assert "use letters, digits" in self.refused(folder, tmp_path / "store", name=name)
        assert "use letters, digits" in self.refused(folder, tmp_path / "store", version=name)

    @pytest.mark.parametrize("option", ["workers", "batch_size", "max_batch_delay"])
    def test_a_number_that_torchserve_misreads(
        self, folder: Path, tmp_path: Path, option: str
    ) -> None:
        message = self.refused(folder, tmp_path / "store", **{option: 0})
        assert f"--{option.replace('_', '-')} is 0; give a whole number above 0" in message


class TestInspect:
    def test_it_shows_what_is_inside(self, archive: Path, tmp_path: Path) -> None:
        found = inspect(archive)
        assert found["name"] == "tiny"
        assert found["version"] == "1.0"
        assert found["labels"] == list(tiny.LABELS)
        assert found["architecture"] == "BertForSequenceClassification"
        assert found["problem_type"] == "single_label_classification"
        assert found["activation"] == "softmax"
        assert found["precision"] == "auto"
        assert found["kernels"] == build(tmp_path)  # none without a compiler
        measured = found["against_float32"]
        assert measured["texts"] == 32
        assert measured["sample"] == "built in"
        assert 0 <= measured["mean_shift"] <= measured["largest_shift"] < 0.1
        assert found["calibration"] == {"method": "none"}
        assert found["intact"] is True
        with zipfile.ZipFile(archive) as contents:
            assert {file["path"] for file in found["files"]} == set(contents.namelist()) - {
                "SHA256SUMS"
            }

    def test_a_changed_byte_shows(self, archive: Path, tmp_path: Path) -> None:
        damaged = tmp_path / archive.name
        content = bytearray(archive.read_bytes())
        content[content.index(b"__metadata__") + 5000] ^= 1
        damaged.write_bytes(content)
        assert inspect(damaged)["intact"] is False

    def test_a_file_that_was_added_to_the_model_shows(self, archive: Path, tmp_path: Path) -> None:
        changed = Path(shutil.copy(archive, tmp_path / archive.name))
        with zipfile.ZipFile(changed, "a") as contents:
            contents.writestr("model/index_to_name.json", '{"0": "a", "1": "b", "2": "c"}')
        assert inspect(changed)["intact"] is False

    @pytest.mark.parametrize("content", [b"", b"no zip at all", None])
    def test_another_file_is_refused(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "x.mar"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(PackageError, match="is no archive of bertserve|does not exist"):
            inspect(path)

    def test_an_archive_of_somebody_else_is_refused(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "x.mar", "w") as foreign:
            foreign.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "x"}}')
        with pytest.raises(PackageError, match="is no archive of bertserve"):
            inspect(tmp_path / "x.mar")


def test_opening_as_a_worker_describes_the_model(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as contents:
        contents.extractall(tmp_path)
    with Forkserver() as python:
        described = classify_as_worker(python, tmp_path)
        assert described["labels"] == list(tiny.LABELS)
        (tmp_path / "model" / "config.json").write_text("{}")
        with pytest.raises(PackageError, match="does not load: model/config.json is damaged"):
            classify_as_worker(python, tmp_path)

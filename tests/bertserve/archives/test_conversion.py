"""What a folder holds in another form becomes what was trained, or is refused in a sentence."""

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

import tiny
from bertserve.archives import conversion
from bertserve.archives.folder import check_folder, read_labels, weights_digest
from bertserve.archives.packaging import _lay_out_model
from bertserve.errors import PackageError
from handler.engine.loading import load_model
from handler.text.tokenizer import load_tokenizer

IDS = torch.tensor([[2, 17, 40, 9, 33, 3]])


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model_dir, tmp_path / "model")


def laid_out(folder: Path, target: Path) -> Path:
    check_folder(folder)
    _lay_out_model(folder, target)
    return target


def logits(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = load_model(folder, "float32").eval()(input_ids=IDS).logits
    return found


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestPrefixes:
    @pytest.mark.parametrize(
        "prefix", ["_orig_mod.", "module.", "model.", "module._orig_mod.", "model.module."]
    )
    def test_what_training_put_before_all_names_is_taken_away(
        self, folder: Path, model_dir: Path, tmp_path: Path, prefix: str
    ) -> None:
        path = folder / "model.safetensors"
        weights = {prefix + name: value for name, value in load_file(path).items()}
        save_file(weights, path, {"format": "pt"})
        assert torch.equal(logits(laid_out(folder, tmp_path / "out")), logits(model_dir))

    def test_names_that_begin_so_by_themselves_stay(self, tmp_path: Path) -> None:
        folder = tiny.make_model(tmp_path / "bart", "bart")
        names = load_file(folder / "model.safetensors")
        assert any(name.startswith("model.") for name in names)
        target = laid_out(folder, tmp_path / "out")
        assert (target / "model.safetensors").resolve() == folder / "model.safetensors"

    def test_an_unknown_prefix_is_no_trained_model(self, folder: Path, tmp_path: Path) -> None:
        path = folder / "model.safetensors"
        save_file({f"mine.{n}": value for n, value in load_file(path).items()}, path)
        with pytest.raises(Exception, match="the weights lack"):
            load_model(laid_out(folder, tmp_path / "out"), "float32")


class TestAdapters:
    """peft's own answer, adapter and base side by side, is what must come out."""

    @pytest.fixture
    def adapted(self, model_dir: Path, tmp_path: Path) -> tuple[Path, torch.Tensor]:
        """An adapter alone, and the logits that its training ended with."""
        torch.manual_seed(1)
        base = AutoModelForSequenceClassification.from_pretrained(model_dir).eval()
        how = peft.LoraConfig(
            task_type="SEQ_CLS", r=4, lora_alpha=16, target_modules=["query", "value"]
        )
        with warnings.catch_warnings():  # peft asks transformers for an old name
            warnings.simplefilter("ignore")
            together = peft.get_peft_model(base, how).eval()
        with torch.no_grad():
            for name, parameter in together.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.normal_(0.0, 0.5)
        with torch.inference_mode():
            wanted = together(input_ids=IDS).logits
        together.save_pretrained(tmp_path / "adapter")
        edit(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path=str(model_dir))
        return tmp_path / "adapter", wanted

    def beside(self, adapter: Path, folder: Path) -> Path:
        for path in adapter.glob("adapter_*"):
            shutil.copy(path, folder)
        return folder

    def test_one_beside_its_model_is_merged(
        self, adapted: tuple[Path, torch.Tensor], folder: Path, tmp_path: Path, model_dir: Path
    ) -> None:
        adapter, wanted = adapted
        found = logits(laid_out(self.beside(adapter, folder), tmp_path / "out"))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found, logits(model_dir), atol=0.1)  # the base says otherwise
        assert not list((tmp_path / "out").glob("adapter_*"))

    def test_one_alone_is_merged_into_the_base_that_it_names(
        self, adapted: tuple[Path, torch.Tensor], tmp_path: Path
    ) -> None:
        adapter, wanted = adapted
        target = laid_out(adapter, tmp_path / "out")
        torch.testing.assert_close(logits(target), wanted, atol=1e-4, rtol=1e-4)
        assert load_tokenizer(target)("good film")["input_ids"]
        assert read_labels(adapter)[0] == list(tiny.LABELS)

    def test_one_whose_base_is_elsewhere_is_refused(
        self, adapted: tuple[Path, torch.Tensor]
    ) -> None:
        adapter, _ = adapted
        edit(adapter / "adapter_config.json", base_model_name_or_path="somebody/base")
        with pytest.raises(PackageError, match="'somebody/base' is no folder here; download it"):
            check_folder(adapter)

    @pytest.mark.parametrize("is_beside", [True, False])
    def test_a_base_that_is_a_pickle_is_named(
        self, adapted: tuple[Path, torch.Tensor], folder: Path, is_beside: bool
    ) -> None:
        adapter, _ = adapted
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        edit(adapter / "adapter_config.json", base_model_name_or_path=str(folder))
        source = self.beside(adapter, folder) if is_beside else adapter
        with pytest.raises(
            PackageError, match=f"{folder} has no model.safetensors for the adapter"
        ):
            check_folder(source, convert_weights=True)

    def test_one_without_weights_is_named(
        self, adapted: tuple[Path, torch.Tensor], folder: Path
    ) -> None:
        adapter, _ = adapted
        (adapter / "adapter_model.safetensors").unlink()
        with pytest.raises(
            PackageError, match=r"and no adapter_model\.safetensors; save the adapter"
        ):
            check_folder(self.beside(adapter, folder))

    def test_without_peft_it_is_refused_and_the_base_is_not_served(
        self,
        adapted: tuple[Path, torch.Tensor],
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.beside(adapted[0], folder)
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(PackageError, match=r"pip install 'bertserve\[adapters\]'"):
            laid_out(folder, tmp_path / "out")

    @pytest.mark.parametrize(
        ("spoil", "what"),
        [
            (lambda w: {n.replace("layer.1", "layer.7"): v for n, v in w.items()}, "lack|besides"),
            (lambda w: {n: v for n, v in w.items() if "lora_B" not in n}, "lack"),
            (lambda w: {n: v for n, v in w.items() if "classifier" not in n}, "lack"),
            (lambda w: {n: v[:2] for n, v in w.items()}, "size mismatch"),
        ],
        ids=["another base", "no lora_B", "no head", "other sizes"],
    )
    def test_one_that_does_not_fit_is_refused(
        self,
        adapted: tuple[Path, torch.Tensor],
        folder: Path,
        tmp_path: Path,
        spoil: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
        what: str,
    ) -> None:
        self.beside(adapted[0], folder)
        path = folder / "adapter_model.safetensors"
        save_file(spoil(load_file(path)), path, {"format": "pt"})
        with pytest.raises(PackageError, match=what):
            laid_out(folder, tmp_path / "out")

    def test_another_adapter_is_another_model_to_a_calibration(
        self, adapted: tuple[Path, torch.Tensor], folder: Path
    ) -> None:
        before = weights_digest(folder)
        assert weights_digest(self.beside(adapted[0], folder)) != before

    def test_a_broken_configuration_is_named(self, folder: Path) -> None:
        (folder / "adapter_config.json").write_text("[1]")
        (folder / "model.safetensors").unlink()
        with pytest.raises(PackageError, match=r"adapter_config.json is no JSON object"):
            check_folder(folder)


class TestVocabularies:
    @pytest.fixture
    def cased(self, folder: Path) -> Path:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "GOOD", "Film", "film"]
        (folder / "vocab.txt").write_text("\n".join(words))
        return folder

    def test_capitals_are_taken_away_only_where_somebody_says_so(
        self, cased: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(PackageError, match=r"2 words with capitals.*do_lower_case"):
            laid_out(cased, tmp_path / "refused")
        for lower, tokens in ((False, [2, 6, 7, 3]), (True, [2, 5, 8, 3])):
            (cased / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
            target = laid_out(cased, tmp_path / str(lower))
            assert load_tokenizer(target)("GOOD Film")["input_ids"] == tokens

    def test_a_sentencepiece_model_without_its_library_is_named(
        self, cased: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (cased / "vocab.txt").unlink()
        (cased / "sentencepiece.bpe.model").write_bytes(b"\n\x0e\n\x05<unk>")
        monkeypatch.setattr(conversion, "_has_sentencepiece", lambda: False)
        with pytest.raises(PackageError, match=r"bpe.model is read by sentencepiece.*pip install"):
            laid_out(cased, tmp_path / "out")

    def test_a_sentencepiece_model_that_is_none_is_refused(
        self, cased: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (cased / "vocab.txt").unlink()
        (cased / "spiece.model").write_bytes(b"no model")
        monkeypatch.setattr(conversion, "_has_sentencepiece", lambda: True)
        with pytest.raises(PackageError, match="tokenizer"):
            laid_out(cased, tmp_path / "out")

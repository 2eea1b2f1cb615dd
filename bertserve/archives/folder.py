"""A fine-tuned model's Hugging Face folder: what it must hold, its labels, its calibration."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import PackageError
from ..handler import checksums
from ..handler.errors import LoadError
from ..handler.probabilities import (
    CALIBRATION_FILE,
    choose_activation,
    name_labels,
    problem_type,
    read_calibration,
)
from ..handler.settings import Settings
from .conversion import ADAPTER, adapter_base
from .integrity import check_files

_PLACEHOLDER = re.compile(r"LABEL_\d+")
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# a tokenizer of one of these alone is made into a tokenizer.json
_VOCABULARIES = ("vocab.txt", "vocab.json", "*.model")

# settings that logits depend on, so that a calibration is for these alone
FITTED_WITH = ("max_length", "long_text", "stride", "aggregation", "pairs")


def check_folder(model_dir: Path, *, convert_weights: bool = False) -> None:
    """PackageError says in one sentence what a folder lacks; what only loading shows comes later."""
    if not model_dir.is_dir():
        raise PackageError(f"{model_dir} is no folder; give the folder of a fine-tuned model")
    check_files(model_dir)
    main = adapter_base(model_dir) if (model_dir / ADAPTER).exists() else model_dir
    try:
        config = json.loads((main / "config.json").read_bytes())
        id2label = config.get("id2label") or {}
        names = id2label.values()
    except FileNotFoundError:
        raise PackageError(
            f"{model_dir} has no config.json; save the model with save_pretrained()"
        ) from None
    except (ValueError, AttributeError):
        raise PackageError(
            f"{main / 'config.json'} is not a JSON object with id2label as another one"
        ) from None
    if not all(str(index).lstrip("-").isdecimal() for index in id2label):
        raise PackageError(
            f"id2label in {main / 'config.json'} begins with {next(iter(id2label))!r}, which is no "
            'number; make it like {"0": "first label", …}'
        )
    if "auto_map" in config and not _is_native(config):
        raise PackageError(
            f"{model_dir} needs code of its own (auto_map in config.json), which is never run; "
            "save the model as one of transformers' own architectures"
        )
    if not any(main.glob("model*.safetensors")):
        _check_pickles(main, convert_weights)
    if not has_tokenizer(model_dir) and not has_tokenizer(main):
        raise PackageError(
            f"{model_dir} has no tokenizer.json, nor a vocabulary to make one of; save the tokenizer "
            "there with save_pretrained(), and convert one that has no fast version, such as CANINE's"
        )
    index_to_name = _index_to_name(model_dir)
    unnamed = all(_PLACEHOLDER.fullmatch(str(name)) for name in names)
    if unnamed and index_to_name is None:
        raise PackageError(
            f"the labels of {model_dir} have no names (LABEL_0, …); name them in config.json's "
            'id2label, or in an index_to_name.json: {"0": "first label", …}'
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer, or a vocabulary that one is made of."""
    return any(files(folder, (*TOKENIZER_FILES[:1], *_VOCABULARIES)))


def _index_to_name(model_dir: Path) -> Any:
    """The content of index_to_name.json, None where there is none."""
    path = model_dir / "index_to_name.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise PackageError(
            f'{path} is no JSON; write {{"0": "first label", …}} into it, or delete it where '
            "config.json's id2label has the names"
        ) from None


def _is_native(config: dict[str, Any]) -> bool:
    """Whether transformers has the architecture itself, so that the folder's code is not needed."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as NATIVE,
    )

    native = NATIVE.get(config.get("model_type") or "")
    return native is not None and native in (config.get("architectures") or [])


def _check_pickles(model_dir: Path, convert_weights: bool) -> None:
    pickles = list(files(model_dir, PICKLES))
    if not pickles:
        raise PackageError(
            f"{model_dir} has no weights; save the model there with save_pretrained()"
        )
    if not convert_weights:
        raise PackageError(
            f"the weights of {model_dir} are only there as a pickle ({pickles[0].name}), which "
            "can run code when it is loaded; add --convert-weights to make safetensors of them"
        )


def check_calibration(model_dir: Path, settings: Settings) -> None:
    """PackageError where a folder's calibration was fitted on something else than is packaged."""
    found = read_calibration(model_dir)
    if found is None or "provenance" not in found:  # written by hand: the numbers are all there is
        return
    fitted = found["provenance"]
    again = f"run `bertserve calibrate` again, or delete {model_dir / CALIBRATION_FILE}"
    if fitted.get("weights", "") != weights_digest(model_dir):
        raise PackageError(f"the calibration of {model_dir} was fitted on other weights; {again}")
    before_all = fitted.get("settings") or {}
    for name in FITTED_WITH:
        now = getattr(settings, name)
        before = before_all.get(name, now if name == "pairs" else None)  # older ones do not say
        if before != now:
            raise PackageError(
                f"the calibration of {model_dir} was fitted with {name} {before}, not {now}; {again}"
            )


def classifies_pairs(model_dir: Path) -> bool:
    """Whether a folder's calibration was fitted on pairs, or it is a CrossEncoder, which reads pairs."""
    try:
        found = read_calibration(model_dir) or {}
    except LoadError:  # a spoilt one, which is replaced, or refused by check_calibration
        found = {}
    fitted = found.get("provenance") or {}
    if (fitted.get("settings") or {}).get("pairs"):
        return True
    config = model_dir / "config.json"
    # sentence-transformers writes it for a CrossEncoder, which is one model, and not for its others
    return config.exists() and "sentence_transformers" in json.loads(config.read_bytes())


def weights_digest(model_dir: Path) -> str:
    """SHA-256 of a folder's weights, its adapter's included."""
    weights = [*files(model_dir, ("model*.safetensors",))] or [*files(model_dir, PICKLES)]
    weights += files(model_dir, ("adapter_model.safetensors",))
    digests = "".join(f"{checksums.sha256(path)}  {path.name}\n" for path in weights)
    return hashlib.sha256(digests.encode()).hexdigest()


def read_labels(model_dir: Path) -> tuple[list[str], str]:
    """Labels of a folder's model in the order of its outputs, and `softmax` or `sigmoid`."""
    main = adapter_base(model_dir) if (model_dir / ADAPTER).exists() else model_dir
    config = json.loads((main / "config.json").read_bytes())
    labels = name_labels_of(config, _index_to_name(model_dir))
    return labels, choose_activation(
        problem_type(config.get("problem_type"), len(labels)), len(labels)
    )


def files(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """Files of a folder by their names, sorted within each pattern."""
    for pattern in patterns:
        yield from sorted(folder.glob(pattern))


def name_labels_of(config: dict[str, Any], index_to_name: Any) -> list[str]:
    """Label names of a config.json and, where there is one, an index_to_name.json, in order."""
    id2label = config.get("id2label") or {}
    return name_labels(len(id2label or index_to_name or ()), id2label, index_to_name)

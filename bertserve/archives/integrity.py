"""Files of a model folder that are not what they should be, told before anything is loaded."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from ..errors import PackageError

_POINTER = b"version https://git-lfs.github.com/spec/"
_INDEX = "model.safetensors.index.json"
_READ = ("*.safetensors", "*.json", "*.bin", "*.model", "vocab.txt", "merges.txt")


def check_files(model_dir: Path) -> None:
    """PackageError names a file that is a pointer, cut, missing, no JSON, or of another kind of model."""
    for path in sorted({path for pattern in _READ for path in model_dir.glob(pattern)}):
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise PackageError(
                    f"{path} is a pointer of Git LFS and not the file itself; run git lfs pull there"
                )
    for name in ("model_head.pkl", "model_head.joblib", "config_setfit.json"):
        if (model_dir / name).exists():
            raise PackageError(
                f"{model_dir} is a SetFit model ({name}): a sentence encoder and a head of scikit-learn, "
                "which only SetFit runs; fine-tune an AutoModelForSequenceClassification on its answers"
            )
    if not (model_dir / "config.json").exists() and (model_dir / "modules.json").exists():
        raise PackageError(
            f"{model_dir} is put together of parts by sentence-transformers (modules.json); give the "
            "folder that holds the classifier's own config.json, weights and tokenizer"
        )
    _check_index(model_dir)
    for path in sorted(model_dir.glob("model*.safetensors")):
        _header(path)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (model_dir / name).exists():
            _read_json(model_dir / name, "save the tokenizer again with save_pretrained()")


def weight_names(model_dir: Path) -> list[str]:
    """Names of all weights that are there as safetensors."""
    return [
        name
        for path in sorted(model_dir.glob("model*.safetensors"))
        for name in _header(path)
        if name != "__metadata__"
    ]


def _check_index(model_dir: Path) -> None:
    shards = sorted(model_dir.glob("model-*-of-*.safetensors"))
    if (model_dir / "model.safetensors").exists():
        return
    index = model_dir / _INDEX
    if not index.exists():
        if shards:
            raise PackageError(
                f"{model_dir} has {shards[0].name} and no {_INDEX}, which says what is in which file; "
                "copy it there too"
            )
        return
    content = _read_json(index, "copy it again")
    named = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(named, dict):
        raise PackageError(f"{index} has no weight_map; copy it again")
    if missing := sorted({str(name) for name in named.values()} - {path.name for path in shards}):
        lacking = [name for name in missing if not (model_dir / name).exists()]
        if lacking:
            raise PackageError(
                f"{model_dir} lacks {lacking[0]}, which {_INDEX} names; copy all files of weights there"
            )


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file; PackageError where the file is cut."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            if not 0 < length <= size - 8:
                raise ValueError
            header = dict(json.loads(file.read(length)))
            ends = [
                each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"
            ]
        except (ValueError, TypeError, KeyError, IndexError):
            raise PackageError(
                f"{path} is cut or is no safetensors file ({size:,} bytes); download or save it again"
            ) from None
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise PackageError(
            f"{path} is cut: it has {size:,} bytes of {whole:,}; download or save it again"
        )
    return header


def _read_json(path: Path, remedy: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise PackageError(f"{path} is no JSON, or is cut; {remedy}") from None

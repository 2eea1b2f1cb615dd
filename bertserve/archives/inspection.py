"""What an archive holds, whoever built it; it is looked at, never run.

inspect(Path("model_store/support-1.0.mar"))["labels"]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..handler import checksums
from ..handler.probabilities import (
    CALIBRATION_FILE,
    choose_activation,
    problem_type,
)
from ..handler.settings import read_settings
from ..inputs import Input, Pair
from . import parity
from .contents import CONFIG, Contents, open_archive
from .folder import name_labels_of

# what is shown of files that an archive need not have: key → type, or the same of an object
_MEASURED: dict[str, Any] = {
    "precision": str, "texts": int, "sample": str, "failed": int, "labels_changed": float,
    "largest_shift": float, "mean_shift": float,
}  # fmt: skip
_FIGURES: dict[str, Any] = {"ece_width": float}
_PROVENANCE: dict[str, Any] = {
    "texts": int, "data": str, "looks_seen": bool, "before": _FIGURES, "after": _FIGURES,
}  # fmt: skip
_MOST_WORKERS = 2**31 - 1  # what TorchServe reads of a number


def inspect(archive: Path) -> dict[str, Any]:
    """What an archive holds: labels, precision, calibration, workers, checksums.

    `intact` tells whether every file has the checksum that the archive gives for it. PackageError where
    it is no archive of ours, or none at all.
    """
    with open_archive(archive) as contents:
        return _describe(archive, contents)


def golden(archive: Path) -> list[tuple[Input, dict[str, float]]]:
    """Texts, or pairs, and the probabilities that they got at packaging; none in older archives."""
    with open_archive(archive) as contents:
        if parity.GOLDEN not in contents:
            return []
        found = contents.json(parity.GOLDEN)
        rows = list(found.items()) if isinstance(found, dict) else found
        if not isinstance(rows, list):
            raise ValueError(f"{parity.GOLDEN} holds no texts")
        return [_golden_row(row) for row in rows]


def _golden_row(row: Any) -> tuple[Input, dict[str, float]]:
    match row:
        case (str() as text, dict() as probabilities):
            asked: Input = text
        case ([str() as text, str() as pair], dict() as probabilities):
            asked = Pair(text, pair)
        case _:
            raise ValueError(f"{parity.GOLDEN} has something else than texts and probabilities")
    if not all(_is_number(each) for each in probabilities.values()):
        raise ValueError(f"{parity.GOLDEN} has no probabilities for a text")
    return asked, probabilities


def _describe(archive: Path, contents: Contents) -> dict[str, Any]:
    expected = contents.expected()
    name, version = contents.names_of_model()
    served = contents.mapping(CONFIG)
    settings = read_settings(served.get("handler"))
    config = contents.mapping("model/config.json")
    labels = _labels(contents, config)
    declared = config.get("problem_type")
    if not isinstance(declared, str | None):
        raise ValueError("model/config.json: problem_type is no string")
    problem = problem_type(declared, len(labels))
    files = [
        {"path": path, "bytes": contents.size(path), "sha256": digest}
        for path, digest in sorted(expected.items())
        if path in contents
    ]
    return {
        "archive": str(archive),
        "sha256": checksums.sha256(archive),
        "bytes": archive.stat().st_size,
        "name": name,
        "version": version,
        "architecture": _architecture(config),
        "labels": labels,
        "problem_type": problem,
        "activation": choose_activation(problem, len(labels)),
        "precision": settings.precision,
        "against_float32": _against_float32(contents),
        "kernels": sorted(Path(path).stem for path in contents.names if path.endswith(".so")),
        "calibration": _calibration(contents),
        "workers": _whole(served, "minWorkers"),
        "batch_size": _whole(served, "batchSize"),
        "max_batch_delay": _whole(served, "maxBatchDelay"),
        "settings": settings.as_dict(),
        "intact": expected == contents.digests(),
        "files": files,
    }


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else config.get("model_type")
    if not isinstance(first, str):
        raise ValueError("model/config.json names no architecture")
    return first


def _whole(served: Mapping[str, Any], key: str) -> int:
    value = served.get(key)
    if type(value) is not int or not 0 < value <= _MOST_WORKERS:
        raise ValueError(f"{CONFIG}: {key} is no whole number above 0")
    return value


def _against_float32(contents: Contents) -> dict[str, Any] | None:
    if parity.FILE_NAME not in contents:
        return None
    found = contents.mapping(parity.FILE_NAME)
    _check(found, _MEASURED, parity.FILE_NAME)
    return found


def _calibration(contents: Contents) -> dict[str, Any]:
    path = f"model/{CALIBRATION_FILE}"
    if path not in contents:
        return {"method": "none"}
    found = contents.mapping(path)
    _check(found, {"method": str}, path)
    if found.get("provenance"):
        _check(found, {"provenance": _PROVENANCE}, path)
    if "threshold" in found:
        _check(found, {"threshold": float}, path)
    if found.get("sets") is not None:
        _check(found, {"sets": {"coverage": float}}, path)
    return found


def _labels(contents: Contents, config: dict[str, Any]) -> list[str]:
    path = "model/index_to_name.json"
    if not isinstance(config.get("id2label") or {}, dict):
        raise ValueError("model/config.json: id2label is no object")
    return name_labels_of(config, contents.mapping(path) if path in contents else None)


def _check(value: Any, shape: Any, where: str) -> None:
    """ValueError where a value of JSON has another type than what is shown of it."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{where} is no object")
        for key, each in shape.items():
            if key not in value:
                raise ValueError(f"{where} has no {key}")
            _check(value[key], each, f"{where}: {key}")
    elif shape is float:
        if not _is_number(value):
            raise ValueError(f"{where} is no number")
    elif type(value) is not shape:
        raise ValueError(f"{where} is not of type {shape.__name__}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300

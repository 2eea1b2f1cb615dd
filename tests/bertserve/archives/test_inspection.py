"""What an archive of anybody is said to hold; hostile ones are in test_contents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hostile
import pytest

from bertserve.archives.inspection import golden, inspect
from bertserve.errors import PackageError
from bertserve.inputs import Pair


def archive(folder: Path, **changes: Any) -> Path:
    """A small archive in which files of JSON have another content; None takes one away."""
    files = hostile.good_files()
    for name, content in changes.items():
        files.pop(name, None)
        if content is not None:
            files[name] = json.dumps(content).encode()
    path = folder / "support-1.0.mar"
    path.write_bytes(hostile.zip_of(hostile.entries_of(hostile.listed(files))))
    return path


def test_it_says_what_is_in_it(tmp_path: Path) -> None:
    found = inspect(archive(tmp_path))
    assert (found["name"], found["version"]) == ("support", "1.0")
    assert found["labels"] == ["good", "bad"]
    assert found["architecture"] == "BertForSequenceClassification"
    assert found["calibration"] == {"method": "none"}
    assert (found["workers"], found["batch_size"], found["max_batch_delay"]) == (1, 8, 2)
    assert found["intact"]
    assert {"model/config.json", "golden.json"} <= {each["path"] for each in found["files"]}
    json.dumps(found)


def test_what_an_archive_need_not_have_is_left_out(tmp_path: Path) -> None:
    path = archive(tmp_path, **{"precision.json": None, "golden.json": None})
    assert inspect(path)["against_float32"] is None
    assert inspect(path)["intact"]
    assert golden(path) == []


def test_without_an_architecture_it_is_the_type_of_the_model(tmp_path: Path) -> None:
    config = {"model_type": "bert", "id2label": {"0": "good", "1": "bad"}}
    assert inspect(archive(tmp_path, **{"model/config.json": config}))["architecture"] == "bert"
    del config["model_type"]
    with pytest.raises(PackageError, match=r"config\.json names no architecture"):
        inspect(archive(tmp_path, **{"model/config.json": config}))


def test_golden_texts_are_texts_and_pairs(tmp_path: Path) -> None:
    rows = [["good", {"good": 1.0, "bad": 0}], [["a", "b"], {"good": 0.5, "bad": 0.5}]]
    found = golden(archive(tmp_path, **{"golden.json": rows}))
    assert [text for text, _ in found] == ["good", Pair("a", "b")]
    older = {"good film": {"good": 1.0}}
    assert golden(archive(tmp_path, **{"golden.json": older})) == [("good film", {"good": 1.0})]


@pytest.mark.parametrize(
    "content", [{"provenance": 1}, {"provenance": {"texts": "many"}}, {"threshold": "high"},
                {"sets": {"coverage": None}}, {"sets": []}, {"method": None},
                {"provenance": {"texts": 1, "data": "x", "looks_seen": 3}}],
)  # fmt: skip
def test_a_calibration_that_cannot_be_shown_is_named(tmp_path: Path, content: Any) -> None:
    path = archive(tmp_path, **{"model/calibration.json": {"method": "none", **content}})
    with pytest.raises(PackageError, match=r"model/calibration\.json: "):
        inspect(path)


def test_a_byte_that_changed_is_told(tmp_path: Path) -> None:
    files = hostile.listed(hostile.good_files())
    path = tmp_path / "x.mar"
    path.write_bytes(
        hostile.zip_of(hostile.entries_of({**files, "model/model.safetensors": b"\1" * 64}))
    )
    assert not inspect(path)["intact"]
    path.write_bytes(
        hostile.changed(b"model/model.safetensors", central={"crc": 1}, local={"crc": 1})
    )
    assert not inspect(path)["intact"]

import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes
import tiny
from bertserve.archives.packaging import lay_out
from handler import checksums
from handler.bert_handler import BertHandler
from handler.errors import LoadError

GOOD = [
    fakes.rest(b'{"text": "good film"}'),
    fakes.rest("schlecht \U0001f97e".encode(), "text/plain"),
    fakes.rest(b'{"texts": ["awful", "the service was slow"], "top_k": 2}'),
    fakes.rest(b'{"text": "good", "text_pair": "film", "details": true}'),
    fakes.grpc(b'{"text": "we loved the story"}'),
    fakes.grpc(b"we loved the story"),
    fakes.rest(b'{"text": "' + b"very " * 300 + b'good"}'),
]
BAD = [
    (400, fakes.rest(b"not json")),
    (400, fakes.rest(b'{"text": "\xff"}')),
    (422, fakes.rest(b"[" * 100_000)),
    (413, fakes.rest(b'{"texts": [' + b'"a",' * 200 + b'"a"]}')),
    (413, fakes.rest(b'{"text": "' + b"very " * 300 + b'good", "truncate": false}')),
    (415, fakes.rest(b"<a/>", "application/xml")),
    (415, ({"form": b"field"}, {"Host": "x"})),
    (422, fakes.rest(b'{"text": ""}')),
    (422, fakes.rest(b'{"text": "a", "top_k": 1e999}')),
    (422, fakes.rest(b'{"text": "\\ud800"}')),
    (422, fakes.rest(b'{"text": "a", "max_length": 2}')),
    (422, fakes.rest(b'{"texts": ["", 7]}')),
    (422, fakes.grpc(b"")),
    (422, fakes.rest(b'{"texts": ["a"]}', explain="True")),
    (422, fakes.rest(b'{"text": "a", "label": "x"}', explain="True")),
]


def test_good_rows_of_every_kind_are_answered_in_one_batch(loaded: Any) -> None:
    answers = fakes.answer(loaded, GOOD)
    assert [status for status, _ in answers] == [200] * len(GOOD)
    (_, one), (_, plain), (_, several), (_, details), (_, grpc_json), (_, grpc_text), (_, long) = (
        answers
    )
    for map_ in (one, plain, grpc_json, grpc_text, long, details["probabilities"]):
        assert set(map_) == set(tiny.LABELS)
        assert sum(map_.values()) == pytest.approx(1, abs=1e-5)
    assert [len(map_) for map_ in several] == [2, 2]
    assert (details["model"], details["version"]) == ("tiny", "1.0")
    assert grpc_json == pytest.approx(grpc_text, abs=1e-6)


@pytest.mark.parametrize(("status", "row"), BAD)
def test_a_bad_row_gets_its_own_error(loaded: Any, status: int, row: Any) -> None:
    ((actual, value),) = fakes.answer(loaded, [row])
    assert actual == status
    errors = value if isinstance(value, list) else [value]
    for error in errors:
        assert list(error) == ["error"]
        assert error["error"]["code"]
        assert error["error"]["message"]


@settings(max_examples=40)
@given(rows=st.lists(st.sampled_from([*GOOD, *(row for _, row in BAD)]), min_size=1, max_size=12))
def test_no_row_changes_the_answer_of_another(loaded: Any, rows: list[Any]) -> None:
    together = fakes.answer(loaded, rows)
    alone = [fakes.answer(loaded, [row])[0] for row in rows]
    assert together == [(status, fakes.near(value)) for status, value in alone]


def test_describe_is_answered_with_what_is_loaded(loaded: Any, archive: Path) -> None:
    ((status, described),) = fakes.answer(loaded, [fakes.describe()])
    assert status == 200
    assert described["labels"] == list(tiny.LABELS)
    assert described["calibration"] == {"method": "none"}
    assert described["checksums"] == checksums.parse((archive / "SHA256SUMS").read_text())
    assert "model/model.safetensors" in described["checksums"]
    assert set(described) >= {"problem_type", "max_length", "precision", "device", "version"}


def test_a_forged_describe_harms_nobody_else(loaded: Any) -> None:
    forged: Any = ({}, {"describe": "True", "Host": "x"})  # an empty form with such a header
    assert fakes.answer(loaded, [GOOD[0], forged])[0] == fakes.answer(loaded, [GOOD[0]])[0]
    disguised = fakes.rest(b'{"text": "good film"}', describe="True")
    assert fakes.answer(loaded, [disguised]) == fakes.answer(loaded, [GOOD[0]])


def test_no_text_of_a_caller_is_logged(loaded: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        fakes.answer(
            loaded, [fakes.rest(b'{"text": "s3cret"}'), fakes.rest(b"s3cret", "image/s3cret")]
        )
        fakes.answer(
            loaded, [fakes.rest(b'{"s3cret": 1}'), ({"body": object(), "s3cret": b""}, {})]
        )
    assert "s3cret" not in caplog.text


def test_a_row_that_cannot_be_read_by_our_fault_is_its_own_error(
    loaded: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ({"body": object()}, {"Host": "x"})
    (good, (status, value)) = fakes.answer(loaded, [GOOD[0], broken])
    assert good == fakes.answer(loaded, [GOOD[0]])[0]
    assert (status, value["error"]["code"]) == (500, "internal_error")
    assert "a request could not be read: TypeError" in caplog.text


def test_an_archive_of_another_handler_package_is_refused(archive: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(archive, tmp_path / "archive")
    with pytest.raises(LoadError, match="another package named handler is in the way"):
        BertHandler().initialize(fakes.make_context(elsewhere))


def test_a_damaged_archive_is_refused_before_anything_loads(archive: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(archive, tmp_path / "archive", symlinks=True)
    (damaged / "model" / "config.json").unlink()
    (damaged / "model" / "config.json").write_text("{}")
    with pytest.raises(LoadError, match=r"model/config\.json is damaged"):
        BertHandler().initialize(fakes.make_context(damaged))


def load_as_torchserve(folder: Path) -> str:
    """What TorchServe's own loader says when it loads `bert_handler.py` from a folder."""
    script = (
        "import sys; from ts.model_loader import ModelLoaderFactory as F;"
        f"F.get_model_loader().load('m', {str(folder)!r}, 'bert_handler.py', None, 1, None)"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    ).stderr


def test_a_failed_import_is_not_masked_by_torchserve_s_loader(
    model_dir: Path, tmp_path: Path
) -> None:
    root = tmp_path / "archive"
    lay_out(model_dir, root, "tiny", "1.0", "handler: {}")
    (root / "handler" / "engine" / "__init__.py").write_text("import a_module_that_is_missing")
    last = load_as_torchserve(root).strip().splitlines()[-1]
    assert last == (
        "RuntimeError: the handler cannot be imported: No module named 'a_module_that_is_missing'"
    )


def test_torchserve_finds_exactly_one_class_in_the_door() -> None:
    from ts.utils.util import list_classes_from_module

    import handler.bert_handler as door

    assert list_classes_from_module(door) == [BertHandler]


def test_a_gpu_that_failed_ends_the_worker(
    loaded: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(loaded[0], "pipeline", fail)
    monkeypatch.setattr("os._exit", end)
    with pytest.raises(SystemExit) as ended:
        fakes.answer(loaded, GOOD[:1])
    assert ended.value.code == 1
    assert "the GPU failed, so the worker ends" in caplog.text

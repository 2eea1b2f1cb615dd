from __future__ import annotations

from pathlib import Path

import pytest

from bertserve.kernels import build
from handler.kernels import BUILDS


def test_the_same_sources_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert set(build(folder)) <= set(BUILDS)
    one, two = ({path.name: path.read_bytes() for path in f.glob("*.so")} for f in folders)
    assert one == two
    assert one


def test_what_was_compiled_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = build(tmp_path)
    monkeypatch.setattr("bertserve.kernels._compile", lambda *_: pytest.fail("it compiled again"))
    assert build(tmp_path) == first


def test_without_a_compiler_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "there-is-no-such-compiler")
    assert build(tmp_path) == []
    assert list(tmp_path.iterdir()) == []

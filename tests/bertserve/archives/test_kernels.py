from __future__ import annotations

from pathlib import Path

import pytest

from bertserve.archives.kernels import build
from handler.engine.kernels import BUILDS


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
    monkeypatch.setattr(
        "bertserve.archives.kernels._compile", lambda *_: pytest.fail("it compiled again")
    )
    assert build(tmp_path) == first


@pytest.mark.parametrize("name", ["there-is-no-such-compiler", "/usr/bin/nonsense -m64"])
def test_without_a_compiler_there_are_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", name)
    assert build(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert f"there is no {name.split()[0]}; install g++" in caplog.text


def test_a_compiler_that_fails_is_asked_again_and_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    healthy = tmp_path / "healthy"
    compiler = tmp_path / "compiler"
    compiler.write_text(
        f'#!/bin/sh\n[ -e {healthy} ] && exec g++ "$@"\n'
        '[ "$1" = --version ] && exec g++ --version\necho out of memory >&2; exit 1\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"{compiler} -m64")  # make's form: with arguments
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "into").mkdir()
    assert build(tmp_path / "into") == []
    assert "says out of memory" in caplog.text
    healthy.touch()
    assert build(tmp_path / "into")


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/x"])
def test_without_a_cache_it_compiles_all_the_same(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    monkeypatch.setattr("bertserve.archives.kernels.BUILDS", {"avx2": BUILDS["avx2"]})
    assert build(tmp_path) == ["avx2"]

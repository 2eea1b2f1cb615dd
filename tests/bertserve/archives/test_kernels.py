from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from bertserve.archives.kernels import build
from handler.engine.kernels import BUILDS
from handler.engine.kernels.compiling import KNOWN_HERE, digest, find_compiler, kinds


@pytest.fixture(autouse=True)
def _none_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that this machine has, named in CXX: it is asked although there are kernels already."""
    found = find_compiler()
    if not KNOWN_HERE or shutil.which(found[0]) is None:
        pytest.skip("no compiler here: install g++ or ziglang")
    monkeypatch.setenv("CXX", shlex.join(found))


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library beside the sources, and made from them, as a wheel brings it."""
    folder = tmp_path / "brought"
    folder.mkdir()
    library = folder / "avx2.so"
    library.write_bytes(b"ELF" + bytes.fromhex(digest()))
    monkeypatch.setattr("bertserve.archives.kernels.FOLDER", folder)
    return library


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Where an archive is laid out."""
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def test_what_was_brought_is_taken_without_a_compiler(
    brought: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert build(into) == ["avx2"]
    assert (into / "avx2.so").read_bytes() == brought.read_bytes()


@pytest.mark.parametrize("folder", ["into", "brought"])
def test_what_was_made_from_other_sources_is_not_taken(
    folder: str,
    brought: Path,
    into: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    brought.write_bytes(b"ELF" + bytes(20))
    monkeypatch.setattr("bertserve.archives.kernels.find_compiler", lambda: ["there-is-none"])
    assert build(brought.parent if folder == "brought" else into) == []
    assert list(into.iterdir()) == []
    assert brought.exists() == (folder == "into")  # none are left where they would be opened
    assert "there is no there-is-none; install" in caplog.text


@pytest.mark.usefixtures("compiler")
def test_a_compiler_that_is_named_makes_its_own(into: Path, brought: Path) -> None:
    assert build(into) == sorted(kinds(find_compiler()))
    assert (into / "avx2.so").read_bytes() != brought.read_bytes()


@pytest.fixture
def one_kind(monkeypatch: pytest.MonkeyPatch) -> str:
    """The only kind that is compiled, of one source, since all take many seconds."""
    monkeypatch.setattr(
        "bertserve.handler.engine.kernels.compiling.BUILDS", {"avx2": BUILDS["avx2"]}
    )
    monkeypatch.setattr("bertserve.handler.engine.kernels.compiling.SOURCES", ("pointwise.cpp",))
    return "avx2"


@pytest.mark.usefixtures("compiler")
def test_the_same_sources_give_the_same_bytes(
    one_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert build(folder) == [one_kind]
    one, two = ({path.name: path.read_bytes() for path in f.glob("*.so")} for f in folders)
    assert one == two


@pytest.mark.usefixtures("compiler", "one_kind")
def test_what_was_compiled_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = build(tmp_path)
    monkeypatch.setattr(
        "bertserve.archives.kernels.compile_all", lambda *_: pytest.fail("it compiled again")
    )
    assert build(tmp_path) == first


@pytest.mark.parametrize("name", ["there-is-no-such-compiler", "/usr/bin/nonsense -m64"])
def test_without_a_compiler_there_are_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", name)
    assert build(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert f"there is no {name.split()[0]}, which CXX names" in caplog.text


@pytest.mark.usefixtures("one_kind")
def test_a_compiler_that_fails_is_asked_again_and_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not KNOWN_HERE or shutil.which("g++") is None:
        pytest.skip("there is no g++ here")
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


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/x"])
def test_without_a_cache_it_compiles_all_the_same(
    place: str, one_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    assert build(tmp_path) == [one_kind]

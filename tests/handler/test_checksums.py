import subprocess
from pathlib import Path

import pytest

from handler import checksums
from handler.errors import LoadError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"\x00\x01" * 1_000_000)
    (tmp_path / "config").write_text("ä")
    checksums.write(tmp_path)
    return tmp_path


def test_verify_returns_the_checksum_of_every_file(folder: Path) -> None:
    assert sorted(checksums.verify(folder)) == ["config", "model/weights"]


def test_the_file_is_what_sha256sum_reads(folder: Path) -> None:
    command = ["sha256sum", "--check", "--strict", checksums.FILE_NAME]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "config: OK\nmodel/weights: OK\n"


def test_one_changed_byte_is_named(folder: Path) -> None:
    content = bytearray((folder / "model" / "weights").read_bytes())
    content[1_234_567] ^= 1
    (folder / "model" / "weights").write_bytes(content)
    with pytest.raises(LoadError, match="model/weights is damaged: .*build or copy"):
        checksums.verify(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "config").unlink()
    with pytest.raises(LoadError, match="config is missing"):
        checksums.verify(folder)


def test_a_file_that_was_added_to_the_model_is_named(folder: Path) -> None:
    (folder / "model" / "index_to_name.json").write_text("{}")
    with pytest.raises(LoadError, match="model/index_to_name.json was added"):
        checksums.verify(folder)


@pytest.mark.parametrize("end", ["", ".140113870891376"])  # as Python writes it before it is whole
@pytest.mark.parametrize("below", ["", "lib/"])
def test_python_s_caches_of_its_modules_are_not_looked_at(
    folder: Path, below: str, end: str
) -> None:
    caches = folder / below / "__pycache__"
    caches.mkdir(parents=True)
    (caches.parent / "x.py").write_text("")
    checksums.write(folder)
    (caches / f"x.cpython-311.pyc{end}").write_bytes(b"cache")
    assert f"{below}x.py" in checksums.verify(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("sitecustomize.py", "lib/y.py", "__pycache__/x.py", "__pycache__/x.so"),
        *("__pycache__/y.cpython-311.pyc", "__pycache__/y.cpython-311.pyc.1", "x.cpython-311.pyc"),
        *("__pycache__/x.cpython-311.pyc.so", "lib/__pycache__/x.cpython-311.pyc"),
    ],
)
def test_a_file_that_was_added_anywhere_is_named(folder: Path, name: str) -> None:
    (folder / "x.py").write_text("")
    checksums.write(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    with pytest.raises(LoadError, match="was added to the archive"):
        checksums.verify(folder)


@pytest.mark.parametrize("content", [None, b"no checksum\n", b"\xff\xfe"])
def test_a_checksum_file_that_cannot_be_read_is_an_error(
    folder: Path, content: bytes | None
) -> None:
    path = folder / checksums.FILE_NAME
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadError, match="no readable SHA256SUMS"):
        checksums.verify(folder)

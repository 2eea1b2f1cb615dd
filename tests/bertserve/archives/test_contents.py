"""Archives of anybody: each is one sentence for every command that reads one, and touches nothing."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import hostile
import pytest
import typer

from bertserve import cli, serving
from bertserve.archives.contents import open_archive, read_manifest, unpacked
from bertserve.errors import PackageError
from bertserve.serving.store import stored_archives

REFUSED = {**hostile.CONTAINERS, **hostile.MANIFESTS, **hostile.CONTENTS}
NOT_SERVED = {**hostile.CONTAINERS, **hostile.MANIFESTS, **hostile.UNLISTED}
NOT_REGISTERED = {**REFUSED, **hostile.UNLISTED}
PROGRAM = sys.modules["bertserve.cli.app"]
COMMANDS = typer.main.get_command(PROGRAM.app)  # made once, and not for each of hundreds of calls


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; whatever is written out of `store` and `tmp` beside it is seen."""
    for name in ("work", "store", "tmp", "state"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    fake = SimpleNamespace(directory=str(tmp_path / "state"), model_store=str(tmp_path / "store"))
    monkeypatch.setattr(fake, "models", list, raising=False)
    monkeypatch.setattr(serving, "find", lambda _: fake)
    return tmp_path


def files(folder: Path) -> set[str]:
    """All but what a start keeps in its state folder."""
    found = (os.path.relpath(path, folder) for path in folder.rglob("*"))
    return {each for each in found if not each.startswith("state")}


def refusal(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a command that refuses, as it stands on the terminal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bertserve", *map(str, arguments)])
        patch.setattr(PROGRAM, "app", COMMANDS)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    printed, said = capsys.readouterr()
    assert ended.value.code == 1, (printed, said)
    assert printed == ""
    assert said.startswith("Error: ")
    assert said.endswith("\n")
    assert said[:-1].isprintable(), said
    assert "Traceback" not in said
    assert len(said) < 600
    return said


def put(there: Path, content: bytes) -> Path:
    archive = there / "work" / "support-1.0.mar"
    archive.write_bytes(content)
    return archive


def test_there_are_many() -> None:
    assert len(hostile.CONTAINERS) >= 44


def test_a_good_one_is_read(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = put(there, hostile.good())
    assert read_manifest(archive) == ("support", "1.0")
    with unpacked(archive, "test") as folder:
        assert files(folder) >= {"model/config.json", "SHA256SUMS"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bertserve", "inspect", str(archive)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 0, capsys.readouterr()


@pytest.mark.parametrize("what", REFUSED)
def test_inspect_refuses(what: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = put(there, REFUSED[what])
    before = files(there)
    for more in ([], ["--json"]):
        assert "support-1.0.mar" in refusal("inspect", archive, *more, capsys=capsys)
    assert files(there) == before


@pytest.mark.parametrize("what", NOT_REGISTERED)
def test_register_and_rollout_refuse(
    what: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = put(there, NOT_REGISTERED[what])
    before = files(there)
    for command in (["models", "register"], ["rollout", "--watch", "0"]):
        assert "support-1.0.mar" in refusal(*command, archive, capsys=capsys)
    assert files(there) == before


@pytest.mark.parametrize("what", NOT_SERVED)
def test_serve_refuses(
    what: str, there: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (there / "store" / "b.mar").write_bytes(NOT_SERVED[what])
    config = there / "config.properties"
    config.write_text("")
    before = files(there)
    monkeypatch.setattr(
        "bertserve.serving.starting.check_ports", lambda _: pytest.fail("it would be served")
    )
    said = refusal("serve", "--config", config, "--model-store", there / "store", capsys=capsys)
    assert "b.mar" in said
    assert files(there) == before


@pytest.mark.parametrize("what", hostile.CONTAINERS)
def test_nothing_is_unpacked(what: str, there: Path) -> None:
    archive = put(there, hostile.CONTAINERS[what])
    before = files(there)
    with pytest.raises(PackageError), unpacked(archive, "test"):
        pass
    assert files(there) == before


@pytest.mark.parametrize("what", hostile.UNLISTED)
def test_what_was_added_or_left_out_is_not_intact(
    what: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = put(there, hostile.UNLISTED[what])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bertserve", "inspect", str(archive)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 1
    assert "no: build it again" in capsys.readouterr().out


@pytest.mark.parametrize(
    "golden", ["[1]", "{}1", '[["a", {"x": "y"}]]', '[["a", {"x": NaN}]]', "3"]
)
def test_a_rollout_reads_texts_to_prove_itself_on(
    golden: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = hostile.listed({**hostile.good_files(), "golden.json": golden.encode()})
    archive = put(there, hostile.zip_of(hostile.entries_of(changed)))
    assert "golden.json" in refusal("rollout", archive, capsys=capsys)


def test_an_archive_of_somebody_else_is_served_and_has_a_name(there: Path) -> None:
    own = {name: content for name, content in hostile.good_files().items() if "MAR" in name}
    (there / "store" / "x.mar").write_bytes(hostile.zip_of(hostile.entries_of(own)))
    (found,) = stored_archives(there / "store")
    assert (found.name, found.version) == ("support", "1.0")


def test_folders_and_large_files_are_no_surprise(there: Path) -> None:
    """As zip programs write them: folders of their own, packed, sizes behind the files."""
    archive = there / "work" / "x.mar"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("model/", b"")
        for name, content in hostile.listed(hostile.good_files()).items():
            made.writestr(name, content)
        with made.open("large", "w", force_zip64=True) as file:
            file.write(bytes(1000))
    with open_archive(archive) as contents:
        assert contents.size("large") == 1000


@pytest.mark.parametrize("what", ["a folder", "nothing", "a file that cannot be read"])
def test_what_is_no_file(what: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = there / "support-1.0.mar"
    if what == "a folder":
        path.mkdir()
    elif what != "nothing":
        path.symlink_to("/proc/self/mem")
    assert "support-1.0.mar" in refusal("inspect", path, capsys=capsys)

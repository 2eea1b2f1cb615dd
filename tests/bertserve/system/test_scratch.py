"""What a killed program left goes away; what is somebody's stays."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bertserve.system import scratch
from bertserve.system.scratch import appearing, make_scratch, scratch_folder, sweep

HOLDS = """
import sys, time
from pathlib import Path
from bertserve.system.scratch import appearing, scratch_folder
with scratch_folder("test") as folder, appearing(Path(sys.argv[1])) as partial:
    (folder / "file").write_text("x")
    partial.write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def age(*paths: Path) -> None:
    """As if nobody had touched them for an hour."""
    for path in paths:
        os.utime(path, (time.time() - 3600,) * 2)


@contextmanager
def holding(target: Path) -> Iterator[tuple[subprocess.Popen[str], Path, Path]]:
    """A program that has a folder, and a file that shall appear."""
    command = [sys.executable, "-c", HOLDS, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            folder = Path(process.stdout.readline().strip())
            (partial,) = target.parent.glob(f".{target.name}.*")
            assert (folder / "file").exists()
            yield process, folder, partial
        finally:
            process.kill()


def use(target: Path) -> None:
    """What the next program does."""
    with scratch_folder("next"), appearing(target):
        pass


def test_it_goes_away_with_what_it_holds(there: Path) -> None:
    with scratch_folder("test") as folder:
        (folder / "below").mkdir()
        assert folder.parent == there
    with pytest.raises(ValueError, match="x"), scratch_folder("test"):
        raise ValueError("x")
    assert list(there.iterdir()) == []


def test_what_a_killed_program_left_is_swept_by_the_next(there: Path) -> None:
    target = there / "model-1.0.mar"
    with holding(target) as (process, folder, partial):
        process.send_signal(signal.SIGKILL)
        process.wait()
        use(target)  # it is young: its program may not have locked it yet
        assert folder.exists()
        assert partial.exists()
        age(folder, partial)
        use(there / "another-2.0.mar")
    assert not folder.exists()
    assert not partial.exists()


def test_what_is_held_is_never_swept(there: Path) -> None:
    target = there / "model-1.0.mar"
    with holding(target) as (_, folder, partial):
        age(folder, partial)
        use(there / "another-2.0.mar")
        assert (folder / "file").exists()
        assert partial.exists()


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_is_asked_to_end_leaves_its_lock_only(
    there: Path, signal_: signal.Signals
) -> None:
    with holding(there / "model-1.0.mar") as (process, folder, partial):
        process.send_signal(signal_)
        process.wait()
        age(*(path for path in (folder, partial) if path.exists()))
        use(there / "another-2.0.mar")
        assert not folder.exists()
        assert not partial.exists()


def test_another_program_s_folder_of_our_name_stays(there: Path) -> None:
    theirs = there / "bertserve-package-theirs"
    theirs.mkdir()
    (theirs / "precious").write_text("x")
    (there / "bertserve-notes.txt").write_text("x")
    age(theirs, there / "bertserve-notes.txt")
    with scratch_folder("next"):
        pass
    assert (theirs / "precious").read_text() == "x"
    assert (there / "bertserve-notes.txt").exists()


def test_files_that_only_look_alike_stay(there: Path) -> None:
    others = [there / name for name in (".model-1.0.mar.swp", "model-1.0.mar.123", ".bashrc.12",
                                        ".model-1.0.mar", ".x.mar.1a")]  # fmt: skip
    for each in others:
        each.touch()
    age(*others)
    with appearing(there / "model-2.0.mar"):
        pass
    assert all(each.exists() for each in others)


def test_a_link_is_never_followed(there: Path) -> None:
    precious = there / "precious"
    precious.mkdir()
    (precious / scratch._MARK).touch()
    (there / "bertserve-link").symlink_to(precious)
    age(precious)
    os.utime(there / "bertserve-link", (0, 0), follow_symlinks=False)
    with scratch_folder("next"):
        pass
    assert precious.exists()


def test_another_user_s_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = make_scratch("theirs")
    age(theirs)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    with scratch_folder("next"):
        pass
    assert theirs.exists()


def test_a_server_s_stays_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds no lock."""
    folder = make_scratch("server")
    age(folder)
    monkeypatch.setattr(
        "bertserve.system.processes.torchserve_in", lambda path: path == folder or None
    )
    with scratch_folder("next"):
        pass
    assert folder.exists()
    monkeypatch.setattr("bertserve.system.processes.torchserve_in", lambda _: None)
    with scratch_folder("next"):
        pass
    assert not folder.exists()


def test_what_cannot_be_swept_disturbs_nobody(there: Path) -> None:
    sweep([there / "missing"])


def fail(target: Path) -> None:
    with appearing(target) as partial:
        partial.write_text("half")
        raise OSError("full")


def test_a_file_appears_whole_or_not_at_all(there: Path) -> None:
    target = there / "model-1.0.mar"
    target.write_text("before")
    with pytest.raises(OSError, match="full"):
        fail(target)
    assert target.read_text() == "before"
    with appearing(target) as partial:
        partial.write_text("after")
        assert target.read_text() == "before"
    assert target.read_text() == "after"
    assert [path.name for path in there.iterdir()] == ["model-1.0.mar"]


def test_without_locks_nothing_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    folder = make_scratch("test")
    age(folder)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with scratch_folder("next"):
        pass
    assert folder.exists()


def test_another_place_than_the_temporary_folder(there: Path) -> None:
    cache = there / "cache"
    cache.mkdir()
    left = make_scratch("kernels", cache)
    age(left)
    with scratch_folder("kernels", cache) as folder:
        assert folder.parent == cache
        assert not left.exists()
    assert list(cache.iterdir()) == []


FILLS = """
import os, sys
from pathlib import Path
from bertserve.system.remedies import sentence
from bertserve.system.scratch import appearing, scratch_folder
try:
    with appearing(Path(sys.argv[1]) / "model-1.0.mar") as partial:
        partial.write_bytes(bytes(1 << 20))
except OSError as error:
    print(sentence(error))
print(sorted(os.listdir(sys.argv[1])))
"""


def test_a_full_disk_leaves_nothing(there: Path) -> None:
    disk = there / "disk"
    disk.mkdir()
    mounted = f"mount -t tmpfs -o size=64k tmpfs {disk}"
    if subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted], check=False, capture_output=True
    ).returncode:
        pytest.skip("nothing can be mounted here")
    own = f"{mounted} && exec {sys.executable} -c '{FILLS}' {disk}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", own], capture_output=True, text=True, check=True
    )
    said, left = done.stdout.splitlines()
    assert said.startswith("No space left on device; free some space")
    assert left == "[]"

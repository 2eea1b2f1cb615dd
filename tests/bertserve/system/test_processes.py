"""No process outlives what it was started for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bertserve.system.processes import end_family, tied_command, torchserve_in
from bertserve.system.scratch import scratch_folder
from serving import PATIENCE, environment, wait_until

SLEEPS = "import os, sys, time; print(os.getpid(), *sys.argv[1:], flush=True); time.sleep(600)"
# a program that starts a tied one, and waits for it
STARTS = """
import subprocess, sys
from pathlib import Path
from bertserve.system.processes import tied_command
subprocess.run([*tied_command(Path(sys.argv[1])), "argument"])
"""


def has_ended(process: psutil.Process) -> bool:
    """Its number may stay for a while, until its parent asks."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "sleeps.py"
    path.write_text(SLEEPS)
    return path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_tied_program_ends_with_its_parent(script: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTS, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, argument = parent.stdout.readline().split()
        assert argument == "argument"
        child = psutil.Process(int(pid))
        assert child.ppid() == parent.pid
        parent.send_signal(number)
        parent.wait()
        wait_until(lambda: has_ended(child))


def test_a_program_whose_parent_has_ended_does_not_begin(script: Path) -> None:
    of_another = [each if each != str(os.getpid()) else "1" for each in tied_command(script)]
    done = subprocess.run(of_another, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_family_is_ended_and_killed_where_it_does_not_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bertserve.system.processes._STOP_TIMEOUT", 1.0)
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stubborn!r}])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", parent], **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        family = psutil.Process(process.pid)
        (child,) = family.children()
        end_family(family)
        assert has_ended(child)
        assert has_ended(family)
    end_family(family)  # which has ended already


@pytest.mark.parametrize(
    "content", [None, "", "x", "1", pytest.param(str(os.getpid()), id="own"), "999999999"]
)
def test_another_process_is_no_torchserve(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / ".model_server.pid").write_text(content)
    assert torchserve_in(tmp_path) is None


def test_a_torchserve_is_known_by_its_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "input()", "org.pytorch.serve.ModelServer"]
    with subprocess.Popen(
        [*command, f"-Djava.io.tmpdir={tmp_path}"], stdin=subprocess.PIPE
    ) as process:
        (tmp_path / ".model_server.pid").write_text(f"{process.pid}\n")
        found = wait_until(
            lambda: torchserve_in(tmp_path)
        )  # Linux tells its arguments a moment late
        assert found
        assert found.pid == process.pid
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / ".model_server.pid").write_text(str(process.pid))
        assert torchserve_in(tmp_path / "other") is None
        process.kill()


def test_a_killed_package_leaves_no_child_and_the_next_program_sweeps(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    command = [sys.executable, "-m", "bertserve", "package", str(model_dir), "--name", "tiny"]
    command += ["--version", "1.0", "--output", str(tmp_path / "store")]
    own = {**environment(), "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(command, env=own, stderr=subprocess.DEVNULL) as process:

        def its_tied() -> list[psutil.Process]:
            assert process.poll() is None
            children = psutil.Process(process.pid).children(recursive=True)
            return [each for each in children if any("tied.py" in part for part in each.cmdline())]

        children = wait_until(its_tied)
        process.kill()
        process.wait()
        wait_until(lambda: all(has_ended(child) for child in children))
    left = list((tmp_path / "tmp").glob("bertserve-*"))
    assert left
    for folder in left:
        os.utime(folder, (0, 0))
    with scratch_folder("next"):
        pass
    assert list((tmp_path / "tmp").glob("bertserve-*")) == []
    assert list((tmp_path / "store").glob("*")) == []

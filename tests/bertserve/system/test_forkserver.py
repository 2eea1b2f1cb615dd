"""Programs that share what they import are programs of their own in all else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bertserve import system
from bertserve.system.forkserver import Forkserver
from serving import wait_until

TELLS = """
import json, os, sys
given = sys.stdin.read()
print(json.dumps([sys.argv[1:], os.getcwd(), sys.path[0], __name__, "torch" in sys.modules, given]))
print(os.environ["PYTHONPATH"], file=sys.stderr)
"""
# a program that starts one that never ends by itself
STARTS = """
import sys
from pathlib import Path
from bertserve.system import Forkserver, forkserver
forkserver._IMPORTED = ()
with Forkserver() as python:
    python.run(Path(sys.argv[1]), sys.argv[2], folder=Path(sys.argv[2]))
"""
SLEEPS = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"


@pytest.fixture(scope="module")
def python() -> Iterator[Forkserver]:
    with system.Forkserver() as running:  # that of all tests
        yield running


def script(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(text)
    return path


def test_a_program_has_its_own_arguments_folder_path_and_streams(
    python: Forkserver, tmp_path: Path
) -> None:
    (tmp_path / "beside.py").write_text("")
    program = script(tmp_path, "import beside" + TELLS)
    output, errors = python.run(program, "a", "b c", folder=tmp_path, given="ä\n")
    folder = str(tmp_path)
    assert output == f'[["a", "b c"], "{folder}", "{folder}", "__main__", true, "\\u00e4\\n"]\n'
    assert errors == f"{folder}\n"
    assert not (tmp_path / "__pycache__").exists()


def test_nobody_waits_for_what_a_program_leaves_behind(python: Forkserver, tmp_path: Path) -> None:
    text = """
import subprocess
left = subprocess.Popen(["sleep", "600"])
print(left.pid)
"""
    output, _ = python.run(script(tmp_path, text), folder=tmp_path)
    os.kill(int(output), signal.SIGKILL)  # it is there still


def test_a_program_does_not_outlive_its_block(python: Forkserver, tmp_path: Path) -> None:
    program, pid = script(tmp_path, SLEEPS), tmp_path / "pid"
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as errors:
        with python.started(program, folder=tmp_path, given=given, errors=errors):
            wait_until(lambda: pid.exists() and pid.read_text())
        wait_until(lambda: not psutil.pid_exists(int(pid.read_text())))


def test_programs_know_nothing_of_each_other(python: Forkserver, tmp_path: Path) -> None:
    program = script(tmp_path, "import os, builtins; print(hasattr(builtins, 'x')); builtins.x = 1")
    for _ in range(2):
        assert python.run(program, folder=tmp_path) == ("False\n", "")


@pytest.mark.parametrize(
    ("end", "said"),
    [("os.kill(os.getpid(), 9)", ""), ("sys.exit('because')", "because\n"), ("1 / 0", None)],
)
def test_one_that_fails_has_said_why_and_others_follow(
    python: Forkserver, tmp_path: Path, end: str, said: str | None
) -> None:
    program = script(tmp_path, f"import os, sys; print('begun', flush=True); {end}")
    output, errors = python.run(program, folder=tmp_path)
    assert output == "begun\n"
    if said is None:
        assert errors.splitlines()[-1] == "ZeroDivisionError: division by zero"
    else:
        assert errors == said
    assert python.run(script(tmp_path, "print('next')"), folder=tmp_path) == ("next\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_ends_with_whoever_asked_for_it(tmp_path: Path, number: signal.Signals) -> None:
    program = script(tmp_path, SLEEPS)
    command = [sys.executable, "-c", STARTS, str(program), str(tmp_path)]
    with subprocess.Popen(command) as asking:
        written = tmp_path / "pid"
        pid = int(wait_until(lambda: written.exists() and written.read_text()))
        asking.send_signal(number)
    wait_until(lambda: not psutil.pid_exists(pid))


def test_a_program_whose_server_was_killed_has_said_nothing(tmp_path: Path) -> None:
    with Forkserver() as running:
        os.kill(running._process.pid, signal.SIGKILL)
        running._process.wait()
        assert running.run(script(tmp_path, "print(1)"), folder=tmp_path) == ("", "")


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("print('loading'); print('{\"a\": 1}')", {"a": 1}),
        ("import sys; print('loading'); sys.exit('it is\\nbroken')", {"error": "broken"}),
        ("import os; os.kill(os.getpid(), 9)", {"error": "it died"}),
    ],
)
def test_an_outcome_is_an_object_or_why_there_is_none(
    python: Forkserver, tmp_path: Path, program: str, found: dict[str, object]
) -> None:
    assert python.outcome(script(tmp_path, program), folder=tmp_path) == found

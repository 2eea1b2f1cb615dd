"""scripts/install, with a pip that only writes down what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PIP = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/asked"
case " $* " in
  *" show "*) exit 1 ;;
  *" --dry-run "*) echo "{\\"requires_dist\\": [\\"$TORCH_NEEDS\\"]}" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/install", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    programs.joinpath("python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    programs.joinpath("pip").write_text(PIP)
    for program in programs.iterdir():
        program.chmod(0o755)
    return tmp_path


def install(checkout: Path, *extra: str, **environment: str) -> tuple[str, list[str]]:
    """What the script says, and what it asks pip to install."""
    asked = checkout / ".venv" / "bin" / "asked"
    asked.unlink(missing_ok=True)
    done = subprocess.run(
        [checkout / "scripts" / "install", *extra],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr
    calls = asked.read_text().splitlines() if asked.exists() else []
    return done.stdout, [call for call in calls if " install " in call and "--dry-run" not in call]


def test_it_installs_once_and_again_when_a_list_changes(checkout: Path) -> None:
    said, calls = install(checkout)
    assert "about" in said
    assert all("--constraint .venv/constraints.txt" in call for call in calls)
    assert any(call.endswith("-e .") for call in calls)
    assert install(checkout) == ("", [])
    for name in ("constraints.txt", "pyproject.toml"):
        with (checkout / name).open("a") as file:
            file.write("# changed\n")
        assert install(checkout)[1], name


def test_it_says_how_much_it_will_fetch(checkout: Path) -> None:
    text = (checkout / "constraints.txt").read_text()
    size = {
        kind: text.partition(f"# to download, dev {kind} CUDA: ")[2].split()[0]
        for kind in ("with", "without")
    }
    said, _ = install(checkout, "dev", TORCH_NEEDS="sympy>=1.13")
    assert f"about {size['without']} MB to download\n" in said
    (checkout / ".venv" / "installed-dev").unlink()
    said, _ = install(checkout, "dev", TORCH_NEEDS="nvidia-nccl-cu13==2.29.7")
    assert f"about {size['with']} MB to download, {size['without']} MB without CUDA" in said


def test_torch_comes_from_the_index_that_is_named(checkout: Path) -> None:
    _, calls = install(checkout, TORCH_INDEX="file:///somewhere")
    named = [call for call in calls if "--index-url file:///somewhere" in call]
    assert len(named) == 1
    assert "--no-deps" in named[0]
    assert named[0].endswith(" torch")
    assert calls.index(named[0]) < next(i for i, call in enumerate(calls) if "-e ." in call)
    used = (checkout / ".venv" / "constraints.txt").read_text()
    assert "nvidia-" not in used
    assert "\ntritonclient==" in used
    assert "\ntorch==" in used


def test_a_python_that_is_too_new_or_too_old_is_refused(checkout: Path) -> None:
    done = subprocess.run(
        [checkout / "scripts" / "install"],
        env={"PATH": os.environ["PATH"], "PYTHON": "/bin/false"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Python 3.10 to 3.14 is needed")

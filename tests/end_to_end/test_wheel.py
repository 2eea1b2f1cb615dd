"""What is installed from a wheel, outside any checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import handler
from bertserve.archives.packaging import package
from serving import ROOT, environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `python -m build` makes it: a source distribution, and the wheel from that."""
    output = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(output), str(ROOT)]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    (built,) = output.glob("*.whl")
    return built


def test_the_wheel_holds_the_handler_and_nothing_else_beside_bertserve(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as contents:
        names = contents.namelist()
        top = {name.split("/")[0] for name in names}
        assert {name for name in top if not name.endswith(".dist-info")} == {"bertserve"}
        source = Path(handler.__file__).parent
        for path in source.rglob("*.py"):
            packed = contents.read(f"bertserve/handler/{path.relative_to(source).as_posix()}")
            assert packed == path.read_bytes()
        assert (
            contents.read("bertserve/serving/config.properties")
            == (ROOT / "config.properties").read_bytes()
        )
        assert {"bertserve/serving/log4j2.xml", "bertserve/py.typed"} < set(names)


def test_package_works_from_the_wheel_and_gives_the_same_archive(
    wheel: Path, model_dir: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
    ]
    subprocess.run([*install, str(wheel)], check=True, env=environment())
    run = {**environment(), "PYTHONPATH": str(site)}
    where = "import bertserve; print(bertserve.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env=run,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(site)
    command = [sys.executable, "-m", "bertserve", "package", str(model_dir), "--name", "tiny"]
    subprocess.run([*command, "--version", "1.0"], cwd=tmp_path, env=run, check=True)
    ours = package(model_dir, name="tiny", version="1.0", output=tmp_path / "ours")
    assert (tmp_path / "model_store" / "tiny-1.0.mar").read_bytes() == ours.read_bytes()

"""What is installed from a wheel, outside any checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import handler
from bertserve.archives import package
from handler.engine.kernels import BUILDS
from handler.engine.kernels.compiling import KNOWN_HERE
from once import made_once
from serving import ROOT, environment

KERNELS = "bertserve/handler/engine/kernels"

for_kernels = pytest.mark.skipif(not KNOWN_HERE, reason="this machine has no kernels")


def without_compiler(folder: Path) -> dict[str, str]:
    """The environment of a command that finds no compiler, nor any other program."""
    folder.mkdir(exist_ok=True)
    kept = {key: value for key, value in environment().items() if key not in {"CXX", "CC"}}
    return {**kept, "PATH": str(folder)}


def _build(into: Path) -> None:
    command = [sys.executable, "-m", "build", "--outdir", str(into), str(ROOT)]
    empty = without_compiler(into.parent / "nothing")
    subprocess.run(command, env=empty, check=True, capture_output=True)


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m build` makes: a source distribution, and the wheel from that."""
    return made_once(tmp_path_factory, "dist", _build)


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture
def site(wheel: Path, tmp_path: Path) -> Path:
    """A folder into which the wheel was installed."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    target = ["--target", str(tmp_path / "site"), str(wheel)]
    subprocess.run([*install, *target], check=True, env=environment())
    return tmp_path / "site"


def test_the_wheel_holds_the_handler_and_nothing_else_beside_bertserve(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as contents:
        names = contents.namelist()
        top = {name.split("/")[0] for name in names}
        assert {name for name in top if not name.endswith(".dist-info")} == {"bertserve"}
        source = Path(handler.__file__).parent
        for path in [*source.rglob("*.py"), *source.rglob("*.cpp"), *source.rglob("*.h")]:
            packed = contents.read(f"bertserve/handler/{path.relative_to(source).as_posix()}")
            assert packed == path.read_bytes()
        assert (
            contents.read("bertserve/serving/config/config.properties")
            == (ROOT / "config.properties").read_bytes()
        )
        assert {"bertserve/serving/log4j2.xml", "bertserve/py.typed"} < set(names)


@for_kernels
def test_its_kernels_run_wherever_its_name_says(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-manylinux_2_28_x86_64.whl")
    with zipfile.ZipFile(wheel) as contents:
        built = {Path(name).stem: name for name in contents.namelist() if name.endswith(".so")}
        assert built == {name: f"{KERNELS}/{name}.so" for name in BUILDS}
        for name in built.values():
            library = contents.read(name)
            # what an ELF file needs stands in its table of strings
            assert set(re.findall(rb"lib[\w+-]+\.so[.\d]*", library)) == {b"libc.so.6"}
            versions = re.findall(rb"GLIBC_([\d.]+)", library)
            assert versions
            assert all(tuple(map(int, version.split(b"."))) <= (2, 28) for version in versions)


def test_package_works_from_the_wheel_and_gives_the_same_archive(
    site: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {**without_compiler(tmp_path / "nothing"), "PYTHONPATH": str(site)}
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
    options = ["--version", "1.0", "--json"]
    packaged = subprocess.run(
        [*command, *options], cwd=tmp_path, env=run, check=True, capture_output=True, text=True
    )
    assert json.loads(packaged.stdout)["kernels"] == (sorted(BUILDS) if KNOWN_HERE else [])
    # compiled by whichever compiler, they are taken with the sources that they were made from
    monkeypatch.setattr("bertserve.archives.kernels.FOLDER", site / KERNELS)
    monkeypatch.delenv("CXX", raising=False)
    ours = package(model_dir, name="tiny", version="1.0", output=tmp_path / "ours")
    assert (tmp_path / "model_store" / "tiny-1.0.mar").read_bytes() == ours.read_bytes()


@for_kernels
def test_without_a_compiler_the_wheel_is_pure_and_the_build_says_so(
    dist: Path, tmp_path: Path
) -> None:
    pytest.importorskip("setuptools", minversion="77")
    (sources,) = dist.glob("*.tar.gz")
    with tarfile.open(sources) as contents:
        contents.extractall(tmp_path, filter="data")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    done = subprocess.run(
        [*command, "--skip-dependency-check", sources.name.removesuffix(".tar.gz")],
        cwd=tmp_path,
        env={**os.environ, "CXX": "there-is-no-such-compiler"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "no kernels: there is no there-is-no-such-compiler" in done.stdout + done.stderr
    (built,) = tmp_path.rglob("*.whl")
    assert built.name.endswith("-py3-none-any.whl")

"""The kernels against plain C++, on every kind of CPU that this machine is or can be emulated on it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from compiled import compiler, emulates_tiles, usable_library
from handler.engine.kernels import BUILDS, FOLDER, SOURCES, lacking
from handler.engine.kernels.compiling import _FLAGS, _ZIG, _flags

BITS = "avx2"  # whose bits those of aarch64 are compared with
PROGRAM = Path(__file__).with_name("emulated.cpp")
# what is computed in bfloat16 is rounded to it
TOLERANCES = {"float32": 2e-6, "bfloat16": 0.01, "int8": 0.01, "layer norm": 2e-6}


def compiler_for(machine: str) -> list[str]:
    """For another kind of machine ziglang, or one of Debian's, as for this one: bits are a compiler's."""
    own = compiler()
    if "ziglang" in own:
        # of its C libraries this one can be linked into the program
        return [*own, *(flag.replace("gnu.2.28", "musl") for flag in _ZIG[machine])]
    if machine == platform.machine():
        return own
    cross = f"{machine}-linux-gnu-g++"
    if shutil.which(cross):
        return [cross]
    pytest.skip(
        f"nothing compiles for {machine}: install g++-{machine.replace('_', '-')}-linux-gnu"
    )


def emulator_for(machine: str) -> list[str]:
    if machine == platform.machine():
        return []
    for name in (f"qemu-{machine}-static", f"qemu-{machine}"):
        if shutil.which(name):
            return [name, "-cpu", "max"]
    pytest.skip(f"nothing emulates {machine}: install qemu-user-static")


@cache
def printed(name: str, folder: Path, tiles: Path | None = None) -> dict[str, str]:
    """What the program says of one kind of CPU: a name → the largest difference, or a number.

    `tiles` is the library where this CPU has none and they are emulated.
    """
    kind = BUILDS[name]
    emulator, command = emulator_for(kind.machine), compiler_for(kind.machine)
    if not emulator and not tiles and (absent := lacking(kind)):
        pytest.skip(f"this CPU has no {absent[0]}, which {name} needs")
    target, include = folder / name, ["-I", str(FOLDER), "-fno-exceptions", "-std=c++17"]
    main = folder / f"{kind.machine}.o"
    if not main.exists():
        # GCC 12 breaks on vectorizing what is plain on purpose
        run([*command, *include, "-O1", "-c", str(PROGRAM), "-o", str(main)])
    if emulator or name == BITS or ("ziglang" in command and not tiles):
        # an emulator has no libraries; those that lie here may be of another compiler or C library
        flags = [*_FLAGS, *_flags(kind, command), *include]
        made = [*flags, *(str(FOLDER / source) for source in SOURCES), "-static"]
    else:  # with the library that is served; what that lacks the program has
        made = [str(tiles or FOLDER / f"{name}.so"), "-rdynamic"]
    run([*command, str(main), *made, "-o", str(target)])
    lines = run([*emulator, str(target)]).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines)


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulated")


@pytest.mark.parametrize("name", BUILDS)
def test_it_computes_what_plain_code_does(
    name: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tiles = usable_library(name, tmp_path_factory) if emulates_tiles(name) else None
    found = printed(name, folder, tiles)
    differences = {what: value for what, value in found.items() if "encode" not in what}
    assert len(differences) > 8
    assert ("linear bfloat16" in differences) == ("bf16" in name or name == "amx")
    for what, difference in differences.items():
        kind = next(kind for kind in TOLERANCES if re.search(rf"\b{kind}\b", what))
        assert float(difference) <= TOLERANCES[kind], what


def test_int8_has_the_same_bits_on_x86_and_aarch64(folder: Path) -> None:
    names = [name for name in (BITS, "neon_dot", "neon_bf16") if name in BUILDS]
    found = [{k: v for k, v in printed(name, folder).items() if "encode" in k} for name in names]
    assert found[0].keys() == {"encode int8 bert", "encode int8 modernbert"}
    assert found[1:] == found[:-1]

"""The kernels against plain C++, on every kind of CPU that this machine is or can be emulated on it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from functools import cache

import pytest

from compiled import PROGRAM, built, compiler, usable_library
from handler.engine.kernels import BUILDS, FOLDER, SOURCES, lacking
from handler.engine.kernels.compiling import _FLAGS, _ZIG, _flags

BITS = "avx2"  # whose bits those of aarch64 are compared with
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
def printed(name: str) -> dict[str, str]:
    """What the program says of one kind of CPU: a name → the largest difference, or a number."""
    kind = BUILDS[name]
    emulator, command = emulator_for(kind.machine), compiler_for(kind.machine)
    include = ["-I", str(FOLDER), "-fno-exceptions", "-std=c++17"]
    if emulator or (not lacking(kind) and (name == BITS or "ziglang" in command)):
        # an emulator has no libraries; those that lie here may be of another compiler or C library
        flags = [*_FLAGS, *_flags(kind, command), *include]
        made = [*flags, *(str(FOLDER / source) for source in SOURCES), "-static"]
    else:  # with the library that is served; what that lacks the program has
        made = [str(usable_library(name)), "-rdynamic"]
    # GCC 12 breaks on vectorizing what is plain on purpose
    plain = [*command, *include, "-O1", "-c", str(PROGRAM), "-o"]
    main = built(f"{kind.machine}.o", lambda file: run([*plain, str(file)]))
    program = built(name, lambda file: run([*command, str(main), *made, "-o", str(file)]))
    lines = run([*emulator, str(program)]).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines)


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", BUILDS)
def test_it_computes_what_plain_code_does(name: str) -> None:
    found = printed(name)
    differences = {what: value for what, value in found.items() if "encode" not in what}
    assert len(differences) > 8
    assert ("linear bfloat16" in differences) == ("bf16" in name or name == "amx")
    for what, difference in differences.items():
        kind = next(kind for kind in TOLERANCES if re.search(rf"\b{kind}\b", what))
        assert float(difference) <= TOLERANCES[kind], what


def test_int8_has_the_same_bits_on_x86_and_aarch64() -> None:
    names = [name for name in (BITS, "neon_dot", "neon_bf16") if name in BUILDS]
    found = [{k: v for k, v in printed(name).items() if "encode" in k} for name in names]
    assert found[0].keys() == {"encode int8 bert", "encode int8 modernbert"}
    assert found[1:] == found[:-1]

"""Compile the sources beside this file; needs the standard library alone, so that `setup.py` can use it.

    compile_all(find_compiler(), Path("somewhere"))    # amx.so … neon_dot.so, see `BUILDS`

Each library bears the digest of what it was made from as its build id: `made_from_these` knows it again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .builds import BUILDS, FOLDER, SOURCES, Build

_MACHINES = {build.machine for build in BUILDS.values()}
KNOWN_HERE = platform.system() == "Linux" and platform.machine() in _MACHINES

_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fno-exceptions", "-fno-math-errno", "-w")
# OpenMP's functions are left open: at load they are found in the library that torch brought
_LINK = ("-nostdlib", "-lc")
# clang as PyPI has it, for every Linux that torch's own wheels are for; in whole registers of AVX-512
_ZIG = {
    "x86_64": ("-target", "x86_64-linux-gnu.2.28", "-mprefer-vector-width=512"),
    "aarch64": ("-target", "aarch64-linux-gnu.2.28"),
}
# how it spells kinds of CPU
_SPELT = (("-march=x86-64-v", "-march=x86_64_v"), ("-march=armv8.2-a", "-mcpu=generic+v8_2a"))


def find_compiler() -> list[str]:
    """What CXX names, with its arguments; else ziglang where it is installed; else g++."""
    if named := shlex.split(os.environ.get("CXX", "")):
        return named
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return ["g++"]


def digest() -> str:
    """Of the sources, and of what the compiler is told; 40 hexadecimal digits."""
    told = [_FLAGS, _LINK, SOURCES, *((name, kind.flags) for name, kind in BUILDS.items())]
    of = hashlib.sha256(repr(told).encode())
    for path in sorted([*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h")]):
        of.update(path.read_bytes())
    return of.hexdigest()[:40]


def made_from_these(library: Path) -> bool:
    """Whether a compiled library was made from the sources that lie here."""
    try:
        return bytes.fromhex(digest()) in library.read_bytes()
    except FileNotFoundError:  # another process has just removed it
        return False


def kinds(compiler: list[str]) -> list[str]:
    """Of CPUs that a compiler makes libraries for: ziglang for all, others for this kind of machine."""
    here = platform.machine()
    return [name for name, kind in BUILDS.items() if _is_zig(compiler) or kind.machine == here]


def compile_all(compiler: list[str], into: Path) -> dict[str, str]:
    """Make a library for each kind of CPU; returns what the compiler says of those that fail."""
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        tasks = {
            name: pool.submit(compile_one, compiler, name, into.resolve(), Path(scratch))
            for name in kinds(compiler)
        }
        return {name: problem for name, task in tasks.items() if (problem := task.result())}


def compile_one(compiler: list[str], name: str, into: Path, scratch: Path) -> str:
    """Make the library for one kind of CPU; returns what the compiler says where it fails."""
    objects = [str(scratch / f"{name}-{source}.o") for source in SOURCES]
    compiler = [*compiler, *_target(BUILDS[name], compiler)]
    flags = [*_FLAGS, *_flags(BUILDS[name], compiler)]
    commands = [
        [*compiler, *flags, "-c", source, "-o", target]
        for source, target in zip(SOURCES, objects, strict=True)
    ]
    library = into / f"{name}.so"
    # in the order of SOURCES and without paths, so that the same sources give the same bytes
    link = [*compiler, "-shared", "-s", f"-Wl,--build-id=0x{digest()}", *objects, *_LINK]
    commands.append([*link, "-o", str(library)])
    caches = dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), str(scratch / "zig"))
    for command in commands:
        done = subprocess.run(
            command,
            cwd=FOLDER,
            env={**os.environ, **caches},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
    return "" if library.exists() else "nothing, and made nothing"


def _flags(kind: Build, compiler: list[str]) -> list[str]:
    """Its flags, as the compiler spells them."""
    flags = list(kind.flags)
    for ours, theirs in _SPELT if _is_zig(compiler) else ():
        flags = [flag.replace(ours, theirs) for flag in flags]
    return flags


def _target(kind: Build, compiler: list[str]) -> tuple[str, ...]:
    return _ZIG[kind.machine] if _is_zig(compiler) else ()


def _is_zig(compiler: list[str]) -> bool:
    return "ziglang" in compiler

"""Compile the sources beside this file; needs the standard library alone, so that `setup.py` can use it.

    compile_all(find_compiler(), Path("somewhere"))    # amx.so … avx2.so, see `BUILDS`

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

KNOWN_HERE = (platform.system(), platform.machine()) == ("Linux", "x86_64")

_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fno-exceptions", "-fno-math-errno", "-w")
# OpenMP's functions are left open: at load they are found in the library that torch brought
_LINK = ("-nostdlib", "-lc")
# clang as PyPI has it, for every Linux that torch's own wheels are for; in whole registers of AVX-512
_ZIG = ("c++", "-target", "x86_64-linux-gnu.2.28", "-mprefer-vector-width=512")


def find_compiler() -> list[str]:
    """What CXX names, with its arguments; else ziglang where it is installed; else g++."""
    if named := shlex.split(os.environ.get("CXX", "")):
        return named
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", *_ZIG]
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


def compile_all(compiler: list[str], into: Path) -> dict[str, str]:
    """Make a library for each kind of CPU; returns what the compiler says of those that fail."""
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        tasks = {
            name: pool.submit(_compile, compiler, name, into.resolve(), Path(scratch))
            for name in BUILDS
        }
        return {name: problem for name, task in tasks.items() if (problem := task.result())}


def _compile(compiler: list[str], name: str, into: Path, scratch: Path) -> str:
    objects = [str(scratch / f"{name}-{source}.o") for source in SOURCES]
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
    is_zig = "ziglang" in compiler
    return [flag.replace("x86-64-v", "x86_64_v") if is_zig else flag for flag in kind.flags]

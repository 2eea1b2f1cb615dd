"""Compile the handler's kernels, for each kind of CPU that they know.

    build(Path("somewhere"))    # amx.so, avx512.so, avx2.so

What was compiled is kept in the user's cache, by the content of the sources and the compiler's version.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from .handler.kernels import BUILDS, FOLDER, SOURCES, Build

_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fno-exceptions", "-fno-math-errno", "-w")
# OpenMP's functions are left open: at load they are found in the library that torch brought
_LINK = ("-shared", "-s")


def build(into: Path) -> list[str]:
    """Put the kernels into a folder; returns their kinds of CPU, none where no compiler is."""
    if (compiler := _compiler()) is None or platform.machine() != "x86_64":
        return []
    built = _cache() / _fingerprint(compiler)
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
            for name, kind in BUILDS.items():
                _compile(compiler, kind, Path(scratch), f"{name}.so")
            finished = Path(shutil.copytree(scratch, f"{scratch}-done"))
        try:
            finished.rename(built)
        except OSError:  # another process was faster
            shutil.rmtree(finished)
    libraries = sorted(built.glob("*.so"))
    for library in libraries:
        shutil.copyfile(library, into / library.name)
    return [library.stem for library in libraries]


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bertserve" / "kernels"


def _fingerprint(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    flags = [_FLAGS, _LINK, *((name, kind.flags) for name, kind in BUILDS.items())]
    digest = hashlib.sha256(version + repr(flags).encode())
    for path in sorted([*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(compiler: str, kind: Build, scratch: Path, library: str) -> None:
    """Make one library; a compiler that does not know the CPU makes none."""
    objects = []
    for source in SOURCES:
        objects.append(scratch / f"{source}.o")
        command = [compiler, *_FLAGS, *kind.flags, "-c", source, "-o", str(objects[-1])]
        if subprocess.run(command, cwd=FOLDER, capture_output=True, check=False).returncode:
            break
    else:
        command = [compiler, *_LINK, *map(str, objects), "-nostdlib", "-lc", "-o", library]
        subprocess.run(command, cwd=scratch, capture_output=True, check=False)
    for path in objects:
        path.unlink(missing_ok=True)

"""Compile the handler's kernels, for each kind of CPU that they know.

    build(Path("somewhere"))    # amx.so, avx512.so, avx2.so

What was compiled is kept in the user's cache, by the content of the sources and the compiler's version.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from .handler.kernels import BUILDS, FOLDER, SOURCES, Build
from .scratch import appearing, scratch_folder

_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fno-exceptions", "-fno-math-errno", "-w")
# OpenMP's functions are left open: at load they are found in the library that torch brought
_LINK = ("-shared", "-s")

logger = logging.getLogger(__name__)


def build(into: Path) -> list[str]:
    """Put the kernels into a folder; returns their kinds of CPU.

    Kinds that are missing are in the log, and why.
    """
    if platform.machine() != "x86_64":
        return []
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    if shutil.which(compiler[0]) is None:
        logger.warning(
            "no kernels: there is no %s; install g++, or name a compiler in CXX", compiler[0]
        )
        return []
    with scratch_folder("kernels") as scratch:
        kept = _cache(_fingerprint(compiler))
        built = kept if kept and kept.exists() else scratch
        if built != kept and _compile_all(compiler, built) and kept:
            _keep(built, kept)
        libraries = sorted(built.glob("*.so"))
        for library in libraries:
            with appearing(into / library.name) as partial:  # another process may have it open
                shutil.copyfile(library, partial)
    return [library.stem for library in libraries]


def _cache(fingerprint: str) -> Path | None:
    """Where kernels are kept; None where there is no such place."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "bertserve" / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only, or no home
        return None
    return folder / fingerprint


def _keep(built: Path, kept: Path) -> None:
    """Copy into the cache, whole or not at all."""
    try:
        with scratch_folder("kernels", kept.parent) as scratch:
            Path(shutil.copytree(built, scratch / kept.name)).rename(kept)
    except OSError:  # another process was faster, or the disk is full
        return


def _fingerprint(compiler: list[str]) -> str:
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=False).stdout
    flags = [compiler, _FLAGS, _LINK, *((name, kind.flags) for name, kind in BUILDS.items())]
    digest = hashlib.sha256(version + repr(flags).encode())
    for path in sorted([*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile_all(compiler: list[str], into: Path) -> bool:
    """Make a library for each kind of CPU; whether all could be made."""
    problems = {name: _compile(compiler, kind, into, name) for name, kind in BUILDS.items()}
    for name, problem in problems.items():
        if problem:
            logger.warning("no %s kernels: %s says %s", name, compiler[0], problem)
    return not any(problems.values())


def _compile(compiler: list[str], kind: Build, folder: Path, name: str) -> str:
    """Make one library in a folder; returns what the compiler says where it cannot."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        objects = [f"{scratch}/{source}.o" for source in SOURCES]
        commands = [
            [*compiler, *_FLAGS, *kind.flags, "-c", source, "-o", target]
            for source, target in zip(SOURCES, objects, strict=True)
        ]
        library = folder / f"{name}.so"
        # in the order of SOURCES and without paths, so that the same sources give the same bytes
        commands.append([*compiler, *_LINK, *objects, "-nostdlib", "-lc", "-o", str(library)])
        for command in commands:
            done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
            if done.returncode:
                return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        return "" if library.exists() else "nothing, and made nothing"

"""The handler's kernels, compiled, for each kind of CPU that they know.

    build(Path("somewhere"))    # amx.so … avx2.so, see `BUILDS`

A wheel brings them, and a checkout has had them since it was installed. Where CXX names a compiler, or
the sources have changed, they are compiled, and kept in the user's cache by the content of the sources
and the version of the compiler.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
from pathlib import Path

from ..handler.engine.kernels import (
    FOLDER,
    KNOWN_HERE,
    compile_all,
    digest,
    find_compiler,
    made_from_these,
)
from ..system import appearing, scratch_folder

# measured with AVX2; docs/packaging.md
_COST = "without them texts take longer, in float32 some 5 %, in bfloat16 more, and int8 cannot be served"

logger = logging.getLogger(__name__)


def build(into: Path) -> list[str]:
    """Put the kernels into a folder, in the place of older ones; returns their kinds of CPU.

    Kinds that are missing are in the log, and why.
    """
    _remove_stale(into)
    if not KNOWN_HERE:
        return []
    if not os.environ.get("CXX") and (brought := _made_from_these(FOLDER)):
        return _put(brought, into)
    compiler = find_compiler()
    if shutil.which(compiler[0]) is None:
        logger.warning("no kernels: %s; %s", _missing(compiler[0]), _COST)
        return []
    with scratch_folder("kernels") as scratch:
        kept = _cache(_fingerprint(compiler))
        built = kept if kept and kept.exists() else scratch
        if built != kept and _compile(compiler, built) and kept:
            _keep(built, kept)
        return _put(sorted(built.glob("*.so")), into)


def _remove_stale(folder: Path) -> None:
    for library in {*folder.glob("*.so")} - {*_made_from_these(folder)}:
        library.unlink(missing_ok=True)


def _made_from_these(folder: Path) -> list[Path]:
    return [library for library in sorted(folder.glob("*.so")) if made_from_these(library)]


def _put(libraries: list[Path], into: Path) -> list[str]:
    for library in libraries:
        if not library.parent.samefile(into):
            with appearing(into / library.name) as partial:
                shutil.copyfile(library, partial)
    return [library.stem for library in libraries]


def _missing(compiler: str) -> str:
    if os.environ.get("CXX"):
        return f"there is no {compiler}, which CXX names; install it, or unset CXX"
    return (
        f"there is no {compiler}; install it, or `pip install ziglang`, or name a compiler in CXX"
    )


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
    found = hashlib.sha256(version + repr(compiler).encode() + digest().encode())
    return found.hexdigest()[:16]


def _compile(compiler: list[str], into: Path) -> bool:
    """Make them; whether all could be made."""
    problems = compile_all(compiler, into)
    for name, problem in problems.items():
        logger.warning("no %s kernels: %s says %s", name, compiler[0], problem)
    return not problems

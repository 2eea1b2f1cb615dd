"""Compiled kernels in the wheel, which is then for one kind of machine; all else is in pyproject.toml.

Where a checkout is installed (`pip install -e`) they are put beside their sources. For machines that have
no kernels, and without a compiler, the wheel is pure: torch computes what they would, more slowly.
"""

import functools
import importlib
import logging
import platform
import re
import shutil
import sys
import types
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

KERNELS = Path("bertserve", "handler", "engine", "kernels")
GLIBC = 28  # what torch's own wheels ask for, and our kernels at least

# without the packages around it, whose needs are not installed yet
sys.modules["kernels"] = types.ModuleType("kernels")
sys.modules["kernels"].__path__ = [str(Path(__file__).parent / KERNELS)]
compiling = importlib.import_module("kernels.compiling")


@functools.cache
def has_kernels() -> bool:
    """Whether this machine has kernels, and a compiler for them; says so where that is missing."""
    compiler = compiling.find_compiler()[0]
    if compiling.KNOWN_HERE and not shutil.which(compiler):
        logging.warning("no kernels: there is no %s; install it or ziglang", compiler)
    return compiling.KNOWN_HERE and shutil.which(compiler) is not None


class BuildWithKernels(build_py):
    """The packages and their data, and the kernels."""

    def run(self) -> None:
        """Compile into the wheel, or beside the sources of what is installed as a checkout."""
        super().run()
        if has_kernels():
            into = compiling.FOLDER if self.editable_mode else Path(self.build_lib, KERNELS)
            problems = compiling.compile_all(compiling.find_compiler(), into)
            if problems:
                raise CompileError(f"these kernels cannot be compiled: {problems}")


class PlatformWheel(bdist_wheel):
    """For any Python 3, and every Linux whose C library has what the kernels call."""

    def get_tag(self) -> tuple[str, str, str]:
        """Like py3-none-manylinux_2_28_x86_64."""
        if not has_kernels():
            return super().get_tag()
        built = Path(self.get_finalized_command("build").build_lib, KERNELS)
        called = [version for library in built.glob("*.so") for version in glibc_versions(library)]
        return "py3", "none", f"manylinux_2_{max([GLIBC, *called])}_{platform.machine()}"


def glibc_versions(library: Path) -> list[int]:
    """Of the functions that it calls, the minor versions of glibc 2."""
    return [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", library.read_bytes())]


class WithKernels(Distribution):
    """What is not the same on all machines, though none of its modules is compiled."""

    def has_ext_modules(self) -> bool:
        """Whether the wheel is for one kind of machine."""
        return has_kernels()


setup(distclass=WithKernels, cmdclass={"build_py": BuildWithKernels, "bdist_wheel": PlatformWheel})

"""What torch is slow at on CPUs, in C++: attention of short texts, products, whole encoders.

The sources beside this file are compiled once for each kind of CPU, when an archive is built; at load the
best build for the CPU at hand is opened. Where there is none everything is computed by torch instead.

builds      the kinds of CPU, and what the compiler is told for each
compiling   the sources made into libraries, one a kind
library     the compiled kernels, opened: their functions take and give tensors
"""

from .builds import BUILDS, FOLDER, SOURCES, Build
from .compiling import KNOWN_HERE, compile_all, digest, find_compiler, made_from_these
from .library import (
    LANES,
    NO_POSITIONS,
    Encoder,
    Kernels,
    Layer,
    Norm,
    Positions,
    Product,
    as_tiles,
    kernels,
    lacking,
    quantize,
)

__all__ = [
    "BUILDS",
    "FOLDER",
    "KNOWN_HERE",
    "LANES",
    "NO_POSITIONS",
    "SOURCES",
    "Build",
    "Encoder",
    "Kernels",
    "Layer",
    "Norm",
    "Positions",
    "Product",
    "as_tiles",
    "compile_all",
    "digest",
    "find_compiler",
    "kernels",
    "lacking",
    "made_from_these",
    "quantize",
]

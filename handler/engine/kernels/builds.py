"""The kinds of CPU that kernels are compiled for, and what each of them must be able to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = ("attention.cpp", "encoder.cpp", "linear.cpp", "pointwise.cpp")


@dataclass(frozen=True, slots=True)
class Build:
    """One kind of CPU: what the compiler is told, and what torch, or Linux, must find there."""

    flags: tuple[str, ...]
    needs: frozenset[str]
    machine: str = "x86_64"


_AVX2 = frozenset({"avx2", "fma3", "f16c", "bmi", "bmi2", "lzcnt"})
_AVX512 = _AVX2 | {"avx512_f", "avx512_bw", "avx512_cd", "avx512_dq", "avx512_vl"}
_VNNI = _AVX512 | {"avx512_vnni"}
_BFLOAT16 = _VNNI | {"avx512_bf16"}
_AMX = _BFLOAT16 | {"amx_tile", "amx_bf16", "amx_int8"}
_DOT = frozenset({"asimd", "asimddp"})

_V3, _V4, _ARM = "-march=x86-64-v3", "-march=x86-64-v4", "-march=armv8.2-a"

# the best first
BUILDS = {
    "amx": Build((_V4, "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-mamx-int8"), _AMX),
    "avx512_bf16": Build((_V4, "-mavx512vnni", "-mavx512bf16"), _BFLOAT16),
    "avx512_vnni": Build((_V4, "-mavx512vnni"), _VNNI),
    "avx512": Build((_V4,), _AVX512),
    "avx_vnni": Build((_V3, "-mavxvnni"), _AVX2 | {"avx_vnni"}),
    "avx2": Build((_V3,), _AVX2),
    "neon_bf16": Build((f"{_ARM}+dotprod+bf16",), _DOT | {"bf16"}, "aarch64"),
    "neon_dot": Build((f"{_ARM}+dotprod",), _DOT, "aarch64"),
}

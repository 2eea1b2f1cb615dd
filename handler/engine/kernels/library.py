"""The compiled kernels, opened: their functions take and give tensors."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from .builds import BUILDS, FOLDER, Build
from .compiling import made_from_these

LANES = 16  # numbers at a time; sizes must be multiples

_NOTHING = 0  # follows a product

_POINTER, _WHOLE, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float


class Product(ctypes.Structure):
    """A linear layer: its weight in tiles; `scales` and `starts` of int8 weights, else None."""

    _fields_ = (
        ("tiles", _POINTER),
        ("scales", _POINTER),
        ("starts", _POINTER),
        ("bias", _POINTER),
        ("depth", _WHOLE),
        ("columns", _WHOLE),
    )


class _Target(ctypes.Structure):
    """A product, and where its results go."""

    _fields_ = (("product", ctypes.POINTER(Product)), ("results", _POINTER))


class Norm(ctypes.Structure):
    """A layer norm."""

    _fields_ = (("weight", _POINTER), ("bias", _POINTER), ("epsilon", _FLOAT))


class Positions(ctypes.Structure):
    """What positions do to attention; `window` is −1 and `distances` 0 where they do nothing."""

    _fields_ = (
        ("window", _WHOLE),
        ("distances", _WHOLE),
        ("nearest", _WHOLE),
        ("bias", _POINTER),
        ("keys", _POINTER),
        ("queries", _POINTER),
        ("angles", _POINTER),
    )


NO_POSITIONS = Positions(window=-1)


class Layer(ctypes.Structure):
    """A layer of an encoder."""

    _fields_ = (
        ("query", Product),
        ("key", Product),
        ("value", Product),
        ("attended", Product),
        ("inner", Product),
        ("outer", Product),
        ("after_attention", Norm),
        ("after_outer", Norm),
        ("positions", Positions),
    )


class Encoder(ctypes.Structure):
    """All layers, and what they have in common; as kernels.h says."""

    _fields_ = (
        ("layers", ctypes.POINTER(Layer)),
        ("count", _WHOLE),
        ("heads", _WHOLE),
        ("scaling", _FLOAT),
        ("adds_sums", _WHOLE),
        ("gated", _WHOLE),
        ("firsts", _WHOLE),
    )


_ATTEND = (
    *(_POINTER,) * 4,
    *(_WHOLE,) * 3,
    _POINTER,
    *(_WHOLE,) * 3,
    _FLOAT,
    ctypes.POINTER(Positions),
    _WHOLE,
)
_LAYER_NORM = (_POINTER,) * 6 + (_WHOLE,) * 2 + (_FLOAT,)
_ARGUMENTS = {
    "attend_float32": _ATTEND,
    "attend_bfloat16": _ATTEND,
    "gelu_bfloat16": (_POINTER, _WHOLE),
    "layer_norm_float32": _LAYER_NORM,
    "layer_norm_bfloat16": _LAYER_NORM,
    "linear_bfloat16": (_POINTER, ctypes.POINTER(_Target)) + (_WHOLE,) * 3,
    "quantize_tokens": (_POINTER,) * 3 + (_WHOLE,) * 2,
    "linear_int8": (_POINTER, _POINTER, ctypes.POINTER(_Target)) + (_WHOLE,) * 3,
    "encode": (ctypes.POINTER(Encoder),) + (_POINTER,) * 3 + (_WHOLE, _POINTER),
    "encode_scratch": (ctypes.POINTER(Encoder), _WHOLE),
}


class Kernels:
    """One build, opened; `name` is that of its kind of CPU."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError:
            _offer_openmp()
            self._library = ctypes.CDLL(str(path))
        for function, arguments in _ARGUMENTS.items():
            getattr(self._library, function).argtypes = arguments
            getattr(self._library, function).restype = None
        self._library.encode_scratch.restype = _WHOLE
        if not self._library.can_be_used():
            raise OSError("the system does not let this process use them")
        self.multiplies_bfloat16 = bool(self._library.multiplies_bfloat16())

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        starts: torch.Tensor,
        scaling: float,
        positions: Positions = NO_POSITIONS,
    ) -> torch.Tensor:
        """Attention within each text, [tokens, heads, size] in float32 or bfloat16.

        starts      int64 [texts + 1], the first token of each text, and the number of tokens
        """
        tokens, heads, size = query.shape
        if not query.shape == key.shape == value.shape:
            raise ValueError("the kernel wants as many keys and values as queries")
        for tensor in (query, key, value):  # heads lie side by side; tokens may be further apart
            apart = heads > 1 and tensor.stride(1) != size
            if apart or (size > 1 and tensor.stride(2) != 1) or tensor.dtype != query.dtype:
                raise ValueError("the kernel cannot read these heads")
        output = torch.empty(tokens, heads, size, dtype=query.dtype)
        self._of("attend", query)(
            query.data_ptr(),
            key.data_ptr(),
            value.data_ptr(),
            output.data_ptr(),
            query.stride(0),
            key.stride(0),
            value.stride(0),
            starts.data_ptr(),
            len(starts) - 1,
            heads,
            size,
            scaling,
            positions,
            False,
        )
        return output

    def gelu_(self, values: torch.Tensor) -> torch.Tensor:
        """GELU in place, bfloat16 of any shape."""
        values = values.contiguous()
        self._of("gelu", values)(values.data_ptr(), values.numel())
        return values

    def layer_norm(
        self, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        """Layer norm over the last dimension, a multiple of 16, in float32 or bfloat16."""
        values = values.contiguous()
        output = torch.empty_like(values)
        size = values.shape[-1]
        self._of("layer_norm", values)(
            values.data_ptr(),
            None,
            None,
            weight.data_ptr(),
            bias.data_ptr(),
            output.data_ptr(),
            values.numel() // size,
            size,
            epsilon,
        )
        return output

    @staticmethod
    def _rows_of(values: torch.Tensor) -> torch.Tensor:
        if values.dtype != torch.bfloat16:
            raise TypeError(f"the kernel multiplies bfloat16, not {values.dtype}")
        return values.contiguous()

    def linear_bfloat16(
        self, values: torch.Tensor, tiles: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """values · weightᵀ + bias for bfloat16 [..., depth] and weights laid out by `as_tiles`."""
        values = self._rows_of(values)
        product = Product(tiles=tiles.data_ptr(), bias=bias.data_ptr())
        output, target, rows = self._target(values, product, len(bias))
        self._library.linear_bfloat16(values.data_ptr(), target, 1, rows, _NOTHING)
        return output

    def linear_int8(
        self,
        values: torch.Tensor,
        tiles: torch.Tensor,
        scales: torch.Tensor,
        starts: torch.Tensor,
        bias: torch.Tensor,
    ) -> torch.Tensor:
        """values · weightᵀ + bias for bfloat16 [..., depth] and weights from `quantize`."""
        values = self._rows_of(values)
        pointers = [tensor.data_ptr() for tensor in (tiles, scales, starts, bias)]
        output, target, rows = self._target(values, Product(*pointers), len(bias))
        quantized = torch.empty(values.shape, dtype=torch.int16)  # room for all kinds
        token_scales = torch.empty(rows)
        self._library.quantize_tokens(
            values.data_ptr(),
            quantized.data_ptr(),
            token_scales.data_ptr(),
            rows,
            values.shape[-1],
        )
        self._library.linear_int8(
            quantized.data_ptr(), token_scales.data_ptr(), target, 1, rows, _NOTHING
        )
        return output

    @staticmethod
    def _target(
        values: torch.Tensor, product: Product, columns: int
    ) -> tuple[torch.Tensor, _Target, int]:
        """Room for the results of a product of values, and how many rows they have."""
        product.depth, product.columns = values.shape[-1], columns
        output = torch.empty(*values.shape[:-1], columns, dtype=torch.bfloat16)
        target = _Target(ctypes.pointer(product), output.data_ptr())
        return output, target, values.numel() // values.shape[-1]

    def encode(
        self, encoder: Encoder, hidden: torch.Tensor, starts: torch.Tensor, scratch: torch.Tensor
    ) -> torch.Tensor:
        """All layers, on bfloat16 [tokens, size]: the same, or first tokens alone, [texts, size].

        starts      int64 [texts + 1], the first token of each text, and the number of tokens
        scratch     uint8, as many as `encode_scratch` says
        """
        hidden = self._rows_of(hidden)
        tokens, size = hidden.shape
        texts = len(starts) - 1
        results = torch.empty(texts if encoder.firsts else tokens, size, dtype=torch.bfloat16)
        if len(scratch) < self.encode_scratch(encoder, tokens):
            raise ValueError("the kernel needs more memory")
        self._library.encode(
            encoder,
            hidden.data_ptr(),
            results.data_ptr(),
            starts.data_ptr(),
            texts,
            scratch.data_ptr(),
        )
        return results

    def encode_scratch(self, encoder: Encoder, tokens: int) -> int:
        """How many bytes `encode` needs beside what it reads and writes."""
        return int(self._library.encode_scratch(encoder, tokens))

    def _of(self, function: str, tensor: torch.Tensor) -> ctypes._NamedFuncPointer:
        precision = str(tensor.dtype).removeprefix("torch.")
        found: ctypes._NamedFuncPointer = getattr(self._library, f"{function}_{precision}")
        return found


def as_tiles(weight: torch.Tensor) -> torch.Tensor:
    """A weight [columns, depth] in bfloat16 or int8 as the kernels read it.

    columns is a multiple of 32, depth of 32, in int8 of 64
    """
    columns, depth = weight.shape
    together = 4 // weight.element_size()  # neighbours in depth that are multiplied together
    # a tile holds 16 columns and, row by row, such neighbours of each
    tiles = weight.reshape(columns // 16, 16, depth // (16 * together), 16, together)
    return tiles.permute(0, 2, 3, 1, 4).contiguous()


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight [columns, depth] in int8, what 1 stands for in each column, and where its sums start.

    Some instructions multiply unsigned numbers alone: the kernels give them a token's plus 128.
    """
    scales = weight.float().abs().amax(dim=1).clamp(min=1e-30) / 127
    whole = (weight.float() / scales[:, None]).round().to(torch.int8)
    return whole, scales, -128 * whole.sum(dim=1, dtype=torch.int32)


def _offer_openmp() -> None:
    """Have what is opened next find torch's OpenMP, which its wheels for aarch64 keep to themselves."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        *_, path = line.split(maxsplit=5)
        if "torch" in path and Path(path).name.startswith("libgomp"):
            ctypes.CDLL(path, os.RTLD_GLOBAL | os.RTLD_NOLOAD)
            return


def lacking(build: Build) -> list[str]:
    """What a build needs and this CPU has not, by torch's names, on aarch64 by Linux's."""
    if build.machine != platform.machine():
        return [build.machine]
    found = _features() if build.machine == "aarch64" else torch.cpu.get_capabilities()
    return sorted(capability for capability in build.needs if not found.get(capability))


def _features() -> dict[str, bool]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = next((line for line in lines if line.startswith("Features")), "")
    return dict.fromkeys(found.partition(":")[2].split(), True)


def _usable(folder: Path) -> Iterator[tuple[str, Path]]:
    for name, build in BUILDS.items():
        path = folder / f"{name}.so"
        if not lacking(build) and made_from_these(path):  # others have other functions
            yield name, path


@functools.cache
def kernels(folder: Path = FOLDER) -> Kernels | None:
    """The best build for this CPU, or None where none can be opened."""
    for name, path in _usable(folder):
        try:
            return Kernels(name, path)
        except (
            OSError,
            AttributeError,
        ):  # another OpenMP than torch's, another C library, no tiles
            continue
    return None

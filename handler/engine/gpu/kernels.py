"""What torch takes several passes over memory for, in one each, by Triton, which torch for CUDA brings.

They compute in float32 whatever the tensors hold. Whatever differs from call to call (how many rows there
are) is no constant of theirs, so that nothing is compiled once a model was tried.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import nn

_ELEMENTS = 1_024  # of a program that goes through a row in pieces


def add_norm(
    values: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, adds_sums: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `Pointwise`."""
    rows, size = values.shape
    normed = torch.empty_like(values)
    sums = torch.empty_like(values) if adds_sums else normed
    block = triton.next_power_of_2(size)
    _add_norm[(rows,)](
        values,
        residual.contiguous(),
        norm.weight,
        norm.bias,
        sums,
        normed,
        epsilon=norm.eps,
        size=size,
        block=block,
        biased=norm.bias is not None,
        adds_sums=adds_sums,
        num_warps=_warps(block),
    )
    return sums, normed


def gated_gelu(values: torch.Tensor) -> torch.Tensor:
    """See `Pointwise`."""
    rows, size = values.shape[0], values.shape[1] // 2
    made = values.new_empty(rows, size)
    grid = (rows, triton.cdiv(size, _ELEMENTS))
    _gated_gelu[grid](values, made, size=size, block=_ELEMENTS, num_warps=_warps(_ELEMENTS))
    return made


def turn(
    qkv: torch.Tensor, position_ids: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
) -> torch.Tensor:
    """See `Pointwise`; in place."""
    tokens, _, heads, size = qkv.shape
    _turn[(tokens,)](
        qkv,
        position_ids,
        cosines,
        sines,
        stride=3 * heads * size,
        both=2 * heads,
        half=size // 2,
        rows=triton.next_power_of_2(2 * heads),
        block=triton.next_power_of_2(size // 2),
    )
    return qkv


def _warps(elements: int) -> int:
    return min(8, max(1, elements // 256))


@triton.jit
def _add_norm(
    values,
    residual,
    weight,
    bias,
    sums,
    normed,
    epsilon: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
    biased: tl.constexpr,
    adds_sums: tl.constexpr,
):
    columns = tl.arange(0, block)
    within = columns < size
    place = tl.program_id(0).to(tl.int64) * size + columns
    x = tl.load(values + place, mask=within, other=0.0).to(tl.float32)
    x += tl.load(residual + place, mask=within, other=0.0).to(tl.float32)
    if adds_sums:
        tl.store(sums + place, x.to(sums.dtype.element_ty), mask=within)
    mean = tl.sum(x, 0) / size
    centred = tl.where(within, x - mean, 0.0)
    deviation = tl.sqrt(tl.sum(centred * centred, 0) / size + epsilon)
    y = centred / deviation * tl.load(weight + columns, mask=within, other=0.0).to(tl.float32)
    if biased:
        y += tl.load(bias + columns, mask=within, other=0.0).to(tl.float32)
    tl.store(normed + place, y.to(normed.dtype.element_ty), mask=within)


@triton.jit
def _gated_gelu(values, made, size: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    within = columns < size
    x = tl.load(values + row * 2 * size + columns, mask=within, other=0.0).to(tl.float32)
    gate = tl.load(values + row * 2 * size + size + columns, mask=within, other=0.0).to(tl.float32)
    gelu = 0.5 * x * (1.0 + tl.math.erf(x * 0.7071067811865476))
    tl.store(made + row * size + columns, (gelu * gate).to(made.dtype.element_ty), mask=within)


@triton.jit
def _turn(
    qkv,
    position_ids,
    cosines,
    sines,
    stride: tl.constexpr,
    both: tl.constexpr,
    half: tl.constexpr,
    rows: tl.constexpr,
    block: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    heads = tl.arange(0, rows)[:, None]
    columns = tl.arange(0, block)[None, :]
    within = (heads < both) & (columns < half)
    angle = tl.load(position_ids + token) * half + columns
    cosine = tl.load(cosines + angle, mask=columns < half, other=0.0)
    sine = tl.load(sines + angle, mask=columns < half, other=0.0)
    first = qkv + token * stride + heads * 2 * half + columns
    x = tl.load(first, mask=within, other=0.0).to(tl.float32)
    y = tl.load(first + half, mask=within, other=0.0).to(tl.float32)
    tl.store(first, (x * cosine - y * sine).to(qkv.dtype.element_ty), mask=within)
    tl.store(first + half, (y * cosine + x * sine).to(qkv.dtype.element_ty), mask=within)

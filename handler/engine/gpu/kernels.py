"""What torch takes several passes over memory for, in one each, by Triton, which torch for CUDA brings.

They compute in float32 whatever the tensors hold. Whatever differs from call to call (how many rows there
are) is no constant of theirs, so that nothing is compiled once a model was tried.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import nn

from ..attention import Packing
from ..kernels import NO_POSITIONS, Positions

_ELEMENTS = 1_024  # of a program that goes through a row in pieces
# whose attention a program computes, to as many at a time: fewer where each takes more room
_TOKENS, _TOKENS_FLOAT32 = 64, 32


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


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float,
    positions: Positions = NO_POSITIONS,
) -> torch.Tensor:
    """Attention that knows distances, or sees a window alone, in every precision, see `Attend`.

    What a query has in common with each bucket of distances, and what a key has, are products; the kernel
    picks of them what belongs to a pair.
    """
    if not query.stride() == key.stride() == value.stride() or query.stride(-1) != 1:
        query, key, value = (each.contiguous() for each in (query, key, value))
    tokens, heads, size = query.shape
    kept: dict[str, torch.Tensor] = positions.kept if positions.distances else {}
    bias, keys, queries = (kept.get(name) for name in ("bias", "keys", "queries"))
    buckets = max(0 if table is None else table.shape[1] for table in (bias, keys, queries))
    with_query = None if keys is None else torch.bmm(query.transpose(0, 1), keys.transpose(1, 2))
    with_key = None if queries is None else torch.bmm(key.transpose(0, 1), queries.transpose(1, 2))
    found = torch.empty_like(query, memory_format=torch.contiguous_format)
    some = _TOKENS_FLOAT32 if query.dtype == torch.float32 else _TOKENS
    _attend[(triton.cdiv(max(packing.lengths), some), len(packing.lengths), heads)](
        query,
        key,
        value,
        found,
        packing.starts,
        kept.get("rows"),
        bias,
        with_query,
        with_key,
        tokens,
        stride=query.stride(0),
        buckets=buckets,
        nearest=positions.nearest,
        window=positions.window,
        heads=heads,
        size=size,
        scaling=scaling,
        block=max(16, triton.next_power_of_2(size)),
        some=some,
    )
    return found


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


@triton.jit(do_not_specialize_on_alignment=["position_ids"])
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


@triton.jit(do_not_specialize=["tokens"])
def _attend(
    query,
    key,
    value,
    found,
    starts,
    rows,
    bias,
    with_query,
    with_key,
    tokens,
    stride: tl.constexpr,
    buckets: tl.constexpr,
    nearest: tl.constexpr,
    window: tl.constexpr,
    heads: tl.constexpr,
    size: tl.constexpr,
    scaling: tl.constexpr,
    block: tl.constexpr,
    some: tl.constexpr,
):
    text, head = tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + text).to(tl.int64)
    length = (tl.load(starts + text + 1) - start).to(tl.int32)
    i = tl.program_id(0) * some + tl.arange(0, some)
    if tl.program_id(0) * some >= length:
        return
    d = tl.arange(0, block)
    within_i = (i < length)[:, None] & (d < size)[None, :]
    at_i = ((start + i) * stride + head * size)[:, None] + d[None, :]
    q = tl.load(query + at_i, mask=within_i, other=0.0)
    of_head = head.to(tl.int64) * tokens + start
    largest = tl.full([some], -1e30, tl.float32)  # a number: of some blocks a token may see nothing
    total = tl.zeros([some], tl.float32)
    sums = tl.zeros([some, block], tl.float32)
    begin, end = 0, length
    if window >= 0:
        begin = tl.maximum(tl.program_id(0) * some - window, 0) // some * some
        end = tl.minimum(tl.program_id(0) * some + some + window, length)
    for first in range(begin, end, some):
        j = first + tl.arange(0, some)
        within_j = (j < length)[:, None] & (d < size)[None, :]
        at_j = ((start + j) * stride + head * size)[:, None] + d[None, :]
        k = tl.load(key + at_j, mask=within_j, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        pairs = (i < length)[:, None] & (j < length)[None, :]
        if rows is not None:
            row = tl.load(rows + (j[None, :] - i[:, None] + nearest), mask=pairs, other=0)
        if with_query is not None:
            at = (of_head + i)[:, None] * buckets + row
            scores += tl.load(with_query + at, mask=pairs, other=0.0).to(tl.float32)
        if with_key is not None:
            at = (of_head + j)[None, :] * buckets + row
            scores += tl.load(with_key + at, mask=pairs, other=0.0).to(tl.float32)
        scores *= scaling
        if bias is not None:
            scores += tl.load(bias + head * buckets + row, mask=pairs, other=0.0)
        seen = (j < length)[None, :]
        if window >= 0:
            seen = seen & (tl.abs(j[None, :] - i[:, None]) <= window)
        scores = tl.where(seen, scores, float("-inf"))
        larger = tl.maximum(largest, tl.max(scores, 1))
        shares = tl.exp(scores - larger[:, None])
        shrink = tl.exp(largest - larger)
        total = total * shrink + tl.sum(shares, 1)
        v = tl.load(value + at_j, mask=within_j, other=0.0)
        sums = sums * shrink[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="ieee")
        largest = larger
    at_i = ((start + i) * heads + head)[:, None] * size + d[None, :]
    total = tl.where(total > 0, total, 1.0)  # of no token
    tl.store(found + at_i, (sums / total[:, None]).to(found.dtype.element_ty), mask=within_i)

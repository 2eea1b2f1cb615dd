"""Attention of texts that lie one after the other in a row of tokens, each within itself alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Protocol

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import pad, scaled_dot_product_attention

from .kernels import NO_POSITIONS, Positions, kernels

_HEAD_MULTIPLE = 8  # of the sizes of heads that GPUs have kernels for
_NO_MASK = 0
_varlen_attn: Callable[..., torch.Tensor] = (
    partial(varlen_attn, num_splits=1)  # type: ignore[assignment]
    if "num_splits" in inspect.signature(varlen_attn).parameters
    else varlen_attn
)


class Attend(Protocol):
    """What computes attention within each text of a row of tokens."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        packing: Packing,
        scaling: float,
        positions: Positions = NO_POSITIONS,
    ) -> torch.Tensor:
        """[tokens, heads, size] each, and so is what is returned; NotPackable where it cannot."""


class NotPackable(Exception):
    """A model computes something that texts in a row would change; it is served with padding."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How texts lie in a row of tokens.

    lengths     tokens of each text
    starts      the first token of each text, and the number of tokens, [texts + 1]: int64 on a CPU, int32
                on a GPU
    """

    lengths: list[int]
    starts: torch.Tensor

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Packing:
        """The packing of texts of these lengths."""
        dtype = torch.int64 if device.type == "cpu" else torch.int32
        starts = torch.tensor([0, *lengths]).cumsum(0).to(dtype)
        return cls(lengths, to_device(starts, device))


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on the device; a GPU's copy does not wait for what it computes."""
    return tensor if device.type == "cpu" else pinned(tensor, device).to(device, non_blocking=True)


def pinned(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU where a GPU can read it by itself."""
    return tensor if device.type == "cpu" else tensor.pin_memory()


def choose_attention(device: torch.device, dtype: torch.dtype) -> tuple[str, Attend]:
    """The fastest attention for a device and a precision, and its name."""
    if device.type == "cuda":
        # flash attention has no kernels for float32, and none for GPUs before Ampere
        flash = dtype != torch.float32 and torch.cuda.get_device_capability(device) >= (8, 0)
        return ("flash", attend_flash) if flash else ("efficient", attend_efficient)
    library = kernels()
    if library and dtype in (torch.float32, torch.bfloat16):
        return f"kernel {library.name}", attend_kernel
    return "sdpa", attend_runs


def attend_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float,
    positions: Positions = NO_POSITIONS,
) -> torch.Tensor:
    """Ours, in C++."""
    library = kernels()
    assert library is not None
    return library.attend(query, key, value, packing.starts, scaling, positions)


def attend_runs(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float,
    positions: Positions = NO_POSITIONS,
) -> torch.Tensor:
    """torch's, called once for each run of neighbours of one length."""
    _refuse_distances(positions)
    output = torch.empty_like(query)
    start = 0
    for length, run in groupby(packing.lengths):
        texts = len(list(run))
        stop = start + texts * length
        shape = (texts, length, *query.shape[1:])
        q, k, v = (tensor[start:stop].view(shape).transpose(1, 2) for tensor in (query, key, value))
        mask = _within(length, positions.window)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        output[start:stop].view(shape).copy_(attended.transpose(1, 2))
        start = stop
    return output


def attend_flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float,
    positions: Positions = NO_POSITIONS,
) -> torch.Tensor:
    """torch's for texts of different lengths, on GPUs, in half precision.

    The keys of a text are never split among blocks where torch can be told so: whether they are would
    depend on the longest neighbour, and with it the order of sums.
    """
    _refuse_distances(positions)
    longest = max(packing.lengths)
    starts = packing.starts
    query_, key_, value_ = _widened(query, key, value)
    window = (positions.window, positions.window)
    output = _varlen_attn(
        query_, key_, value_, starts, starts, longest, longest, scale=scaling, window_size=window
    )
    return output[..., : query.shape[-1]]


def attend_efficient(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float,
    positions: Positions = NO_POSITIONS,
) -> torch.Tensor:
    """The same on GPUs by the memory-efficient kernel, in every precision."""
    _refuse_distances(positions)
    if positions.window >= 0:
        raise NotPackable("its tokens see their neighbours alone, and this GPU's attention all")
    longest = max(packing.lengths)
    starts = packing.starts
    row = (tensor[None] for tensor in _widened(query, key, value))
    output = torch.ops.aten._efficient_attention_forward(
        *row, None, starts, starts, longest, longest, 0.0, _NO_MASK, scale=scaling
    )[0]
    assert isinstance(output, torch.Tensor)
    return output[0, ..., : query.shape[-1]]


def _refuse_distances(positions: Positions) -> None:
    if positions.distances:
        raise NotPackable("its attention knows distances, which this one does not")


def _within(length: int, window: int) -> torch.Tensor | None:
    """Which tokens see each other, [length, length]; None where all do."""
    if not 0 <= window < length - 1:
        return None
    places = torch.arange(length)
    return (places[:, None] - places).abs() <= window


def _widened(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Heads of a size that kernels have; zeros change no product."""
    missing = -tensors[0].shape[-1] % _HEAD_MULTIPLE
    return tuple(pad(tensor, (0, missing)) for tensor in tensors) if missing else tensors

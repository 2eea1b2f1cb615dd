"""The same as `kernels`, of torch's own kernels, where Triton cannot be had."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import gelu


def add_norm(
    values: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, adds_sums: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `Pointwise`."""
    sums = values + residual
    normed = norm(sums)
    return sums if adds_sums else normed, normed


def gated_gelu(values: torch.Tensor) -> torch.Tensor:
    """See `Pointwise`."""
    first, gate = values.chunk(2, dim=-1)
    return gelu(first) * gate


def turn(
    qkv: torch.Tensor, position_ids: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
) -> torch.Tensor:
    """See `Pointwise`."""
    cosine, sine = (table[position_ids][:, None, None] for table in (cosines, sines))
    x, y = qkv[:, :2].float().chunk(2, dim=-1)
    turned = torch.cat([x * cosine - y * sine, y * cosine + x * sine], dim=-1)
    return torch.cat([turned.to(qkv.dtype), qkv[:, 2:]], dim=1)

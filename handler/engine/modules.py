"""Modules that compute on CPUs what torch's own compute, in less time; they take the place of those."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import linear, pad
from transformers.activations import GELUActivation

from .kernels import LANES, Kernels, as_tiles, quantize

# for so many rows at a time oneDNN chooses a layout that suits fewer and more as well
_ROWS = 1_024
# from some depth on it sums the products of a lone row in another order than those of several
_DEEP = 1_024

# rows of a product on a GPU: the fewest in half precision, all that there are in float32
_FEWEST, _BLOCK = 16, 2_048


class PrepackedLinear(nn.Module):
    """A linear layer whose weight lies as oneDNN wants it, so that it is not laid out at every call.

    In float32 a row gives the same whatever other rows there are; with torch's own layer it does not.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()
        self._linear = torch.ops.mkldnn._linear_pointwise.default
        self._sums_a_lone_row_otherwise = linear.in_features > _DEEP

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[…, depth] → […, columns]."""
        if self._sums_a_lone_row_otherwise and values.numel() == values.shape[-1]:
            twice = values.reshape(1, -1).expand(2, -1)
            return self._product(twice)[0].view(*values.shape[:-1], -1)
        return self._product(values)

    def _product(self, values: torch.Tensor) -> torch.Tensor:
        values = values.to(self.weight.dtype)  # behind an encoder of less precision
        result: torch.Tensor = self._linear(values, self.weight, self.bias, "none", [], "")
        return result


class BatchInvariantLinear(nn.Module):
    """A linear layer on a GPU that gives a row the same whatever rows are beside it.

    cuBLAS chooses how it sums by the number of rows. In half precision all its choices give the same but
    for very few rows, once they are told not to split sums (`device.keep_sums_in_order`), so there are
    never fewer. In float32 they do not, so all products have the same number of rows. As seen on an
    H200, docs/gpu.md.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight.detach(), linear.bias
        self._in_blocks = linear.weight.dtype == torch.float32

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[…, depth] → […, columns]."""
        values = values.to(self.weight.dtype)  # behind an encoder of less precision
        if self._in_blocks:
            return self._blockwise(values)
        rows = values.shape[:-1].numel()
        if rows >= _FEWEST:
            return linear(values, self.weight, self.bias)
        padded = pad(values.reshape(rows, values.shape[-1]), (0, 0, 0, _FEWEST - rows))
        return linear(padded, self.weight, self.bias)[:rows].view(
            *values.shape[:-1], len(self.weight)
        )

    def _blockwise(self, values: torch.Tensor) -> torch.Tensor:
        rows = values.shape[:-1].numel()
        padded = pad(values.reshape(rows, values.shape[-1]), (0, 0, 0, -rows % _BLOCK))
        found = [linear(block, self.weight, self.bias) for block in torch.split(padded, _BLOCK)]
        return torch.cat(found)[:rows].view(*values.shape[:-1], len(self.weight))


class TiledLinear(nn.Module):
    """A linear layer in bfloat16 whose weight lies as the kernels read it."""

    def __init__(self, linear: nn.Linear, kernels: Kernels) -> None:
        super().__init__()
        self.columns, self.depth = linear.weight.shape
        self.tiles = as_tiles(linear.weight.detach())
        self.bias = _bias(linear)
        self._kernels = kernels

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[…, depth] → […, columns], both bfloat16."""
        return self._kernels.linear_bfloat16(values, self.tiles, self.bias)


class QuantizedLinear(nn.Module):
    """The same with int8 weights; each token is quantized as it comes, by its own largest value."""

    def __init__(self, linear: nn.Linear, kernels: Kernels) -> None:
        super().__init__()
        self.columns, self.depth = linear.weight.shape
        weight, self.scales, self.starts = quantize(linear.weight.detach())
        self.tiles = as_tiles(weight)
        self.bias = _bias(linear)
        self._kernels = kernels

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[…, depth] → […, columns], both bfloat16."""
        return self._kernels.linear_int8(values, self.tiles, self.scales, self.starts, self.bias)


class Gelu(nn.Module):
    """GELU in place, for bfloat16; what comes before it in a transformer is used nowhere else."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__()
        self._kernels = kernels

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Any shape."""
        return self._kernels.gelu_(values)


class LayerNorm(nn.Module):
    """Layer norm over the last dimension."""

    def __init__(self, norm: nn.LayerNorm, kernels: Kernels) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight.detach(), norm.eps
        self.bias = torch.zeros_like(self.weight) if norm.bias is None else norm.bias.detach()
        self._kernels = kernels

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[…, size] → the same."""
        return self._kernels.layer_norm(values, self.weight, self.bias, self.eps)


class Replacement:
    """Modules of a model in whose place others were put, besides a part of it and what is in that."""

    def __init__(
        self,
        model: nn.Module,
        substitute: Callable[[nn.Module], nn.Module | None],
        besides: nn.Module | None = None,
    ) -> None:
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        left = set(besides.modules() if besides else ())
        for parent in list(model.modules()):
            for name, module in list(parent.named_children()):
                if module in left or parent in left:
                    continue
                if other := substitute(module):
                    setattr(parent, name, other)
                    self._replaced.append((parent, name, module))

    def __len__(self) -> int:
        return len(self._replaced)

    def undo(self) -> None:
        """Put the model's own modules back."""
        for parent, name, module in self._replaced:
            setattr(parent, name, module)


def faster(module: nn.Module, kernels: Kernels | None) -> nn.Module | None:
    """What computes the same as a module in less time; None where nothing does."""
    if type(module) is nn.Linear:
        dtype = module.weight.dtype
        in_tiles = kernels and kernels.multiplies_bfloat16 and dtype == torch.bfloat16
        if kernels and in_tiles and _divisible(module, depth=32):
            return TiledLinear(module, kernels)
        return PrepackedLinear(module) if _prepacks(dtype) else None
    if kernels and type(module) is GELUActivation:
        return Gelu(kernels)
    if kernels and type(module) is nn.LayerNorm and _fits(module):
        return LayerNorm(module, kernels)
    return None


def batch_invariant(module: nn.Module) -> nn.Module | None:
    """What gives a text of a micro-batch the same whatever others there are, for layers of float32."""
    if type(module) is nn.Linear and module.weight.dtype == torch.float32:
        return PrepackedLinear(module) if torch.backends.mkldnn.enabled else None
    return None


def batch_invariant_on_gpu(module: nn.Module) -> nn.Module | None:
    """The same on a GPU, for layers of every precision."""
    return BatchInvariantLinear(module) if type(module) is nn.Linear else None


def quantized(module: nn.Module, kernels: Kernels) -> nn.Module | None:
    """The int8 version of a linear layer, None of anything else and of layers of odd sizes."""
    if type(module) is not nn.Linear or not _divisible(module, depth=64):
        return None
    return QuantizedLinear(module, kernels)


def _prepacks(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies this type here; bfloat16 wants AVX-512."""
    if dtype == torch.bfloat16 and not torch.cpu.get_capabilities().get("avx512_bw"):
        return False
    return bool(torch.backends.mkldnn.enabled)


def _divisible(linear: nn.Linear, depth: int) -> bool:
    return linear.in_features % depth == 0 and linear.out_features % 32 == 0


def _bias(linear: nn.Linear) -> torch.Tensor:
    if linear.bias is None:
        return torch.zeros(linear.out_features)
    return linear.bias.detach().float()


def _fits(norm: nn.LayerNorm) -> bool:
    whole = norm.normalized_shape[-1] % LANES == 0 and len(norm.normalized_shape) == 1
    return whole and norm.weight is not None

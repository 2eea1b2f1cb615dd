"""Every build that this CPU can run computes what torch computes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.activations import GELUActivation

from compiled import needs_kernels, usable_build
from handler.engine.kernels import BUILDS, FOLDER, digest
from handler.engine.kernels import library as opened
from handler.engine.kernels.library import Kernels, as_tiles, kernels, quantize
from handler.engine.modules import QuantizedLinear, Replacement, faster


@pytest.fixture(params=BUILDS)
def library(request: pytest.FixtureRequest) -> Kernels:
    return usable_build(str(request.param))


@pytest.mark.parametrize("shape", [(1,), (16,), (7, 33), (3, 5, 64)])
def test_gelu(library: Kernels, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = (torch.randn(shape) * 4).bfloat16()
    expected = nn.functional.gelu(values.float())
    found = library.gelu_(values.clone())
    assert found.shape == values.shape
    torch.testing.assert_close(found.float(), expected, atol=1e-3, rtol=2**-8)


def test_gelu_far_from_zero(library: Kernels) -> None:
    values = torch.tensor([-1e4, -30.0, -6.0, 0.0, 6.0, 30.0, 1e4]).bfloat16()
    expected = torch.tensor([0.0, 0.0, 0.0, 0.0, 6.0, 30.0, 1e4])
    found = library.gelu_(values).float()
    torch.testing.assert_close(found, expected, atol=0.1, rtol=2**-8)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("size", [16, 32, 384])
def test_layer_norm(library: Kernels, dtype: torch.dtype, tolerance: float, size: int) -> None:
    torch.manual_seed(0)
    values = (torch.randn(1, 9, size) * 3 + 5).to(dtype)
    weight, bias = torch.randn(size).to(dtype), torch.randn(size).to(dtype)
    expected = nn.functional.layer_norm(values.float(), (size,), weight.float(), bias.float())
    found = library.layer_norm(values, weight, bias, 1e-5)
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 300])
@pytest.mark.parametrize(("depth", "columns"), [(64, 32), (384, 1536), (128, 224)])
def test_int8_products(library: Kernels, rows: int, depth: int, columns: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(depth, columns)
    values = torch.randn(1, rows, depth).bfloat16()
    with torch.inference_mode():
        expected = linear(values.float())
        found = QuantizedLinear(linear, library)(values)
    assert found.shape == expected.shape
    assert (found.float() - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize("rows", [1, 13, 300])
def test_sums_of_int8_are_exact(library: Kernels, rows: int) -> None:
    """With the largest numbers, of which some instructions would cut the sums of pairs off."""
    depth = 512
    signs = torch.randint(0, 2, (rows, depth)) * 2.0 - 1
    values = (signs * torch.randint(126, 128, (rows, depth))).bfloat16()  # as they are: 127 is 127
    values[:, 0] = 127
    weight = torch.randint(-127, 128, (64, depth)).float()
    weight[::2] = 127
    weight[:, 0] = 127
    whole, scales, starts = quantize(weight)
    assert torch.equal(whole.float(), weight)
    bias = -(values[0].double() @ weight.double().T).float()  # so that no result is rounded much
    found = library.linear_int8(values, as_tiles(whole), scales, starts, bias)
    assert found[0].abs().max() == 0
    expected = values.double() @ weight.double().T + bias
    assert torch.equal(found, expected.float().bfloat16())


@pytest.mark.parametrize("rows", [1, 12, 13, 300])
@pytest.mark.parametrize(("depth", "columns"), [(32, 32), (384, 1536)])
def test_bfloat16_products(library: Kernels, rows: int, depth: int, columns: int) -> None:
    if not library.multiplies_bfloat16:
        pytest.skip("this build has none")
    torch.manual_seed(0)
    values, weight = torch.randn(rows, depth).bfloat16(), torch.randn(columns, depth).bfloat16()
    bias = torch.randn(columns)
    found = library.linear_bfloat16(values, as_tiles(weight), bias)
    expected = values.float() @ weight.float().T + bias
    torch.testing.assert_close(found.float(), expected, atol=2**-7, rtol=2**-7)


def test_a_token_is_quantized_alone(library: Kernels) -> None:
    weight, scales, starts = quantize(torch.randn(32, 64))
    tiles = as_tiles(weight)
    small = torch.randn(1, 64).bfloat16()
    together = torch.cat([small, small * 1000])
    alone = library.linear_int8(small, tiles, scales, starts, torch.zeros(32))
    beside = library.linear_int8(together, tiles, scales, starts, torch.zeros(32))
    assert torch.equal(alone[0], beside[0])


@pytest.mark.parametrize("place", [0, 15, 60])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_is_no_number_stays_none(library: Kernels, value: str, place: int) -> None:
    whole, scales, starts = quantize(torch.randn(32, 64))
    values = torch.randn(3, 64).bfloat16()
    values[1, place] = float(value)
    found = library.linear_int8(values, as_tiles(whole), scales, starts, torch.zeros(32))
    assert not found[1].isfinite().any()
    assert found[[0, 2]].isfinite().all()


def test_tokens_of_zeros_give_the_bias(library: Kernels) -> None:
    weight, scales, starts = quantize(torch.randn(32, 64))
    tiles = as_tiles(weight)
    bias = torch.arange(32.0)
    found = library.linear_int8(torch.zeros(2, 64).bfloat16(), tiles, scales, starts, bias)
    assert torch.equal(found.float(), bias.expand(2, 32))


@needs_kernels
def test_modules_are_replaced_and_put_back() -> None:
    library = kernels()
    model = nn.Sequential(nn.Linear(16, 16), GELUActivation(), nn.LayerNorm(16), nn.LayerNorm(7))
    before = list(model)
    replacement = Replacement(model, lambda module: faster(module, library))
    assert [type(module).__name__ for module in model] == [
        "PrepackedLinear", "Gelu", "LayerNorm", "LayerNorm",
    ]  # fmt: skip
    assert model[3] is before[3]
    replacement.undo()
    assert list(model) == before


@needs_kernels
def test_the_best_build_is_opened_and_none_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = kernels()
    assert found is not None
    assert kernels(tmp_path) is None
    library = tmp_path / f"{found.name}.so"
    ours, made_from = (FOLDER / library.name).read_bytes(), bytes.fromhex(digest())
    # none, and one of other sources, whose functions take other arguments
    for content in (b"no library" + made_from, ours.replace(made_from, bytes(20))):
        library.write_bytes(content)
        kernels.cache_clear()
        assert kernels(tmp_path) is None
    library.write_bytes(ours)
    kernels.cache_clear()
    assert kernels(tmp_path) is not None
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert opened.kernels.__wrapped__(FOLDER) is None


@needs_kernels
def test_openmp_that_torch_keeps_to_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the first that is opened cannot see, as with torch's wheels for aarch64."""
    library, asked, really = kernels(), list[tuple[str, int]](), ctypes.CDLL
    assert library is not None

    def open_library(path: str, mode: int = ctypes.DEFAULT_MODE) -> ctypes.CDLL:
        asked.append((path, mode))
        if len(asked) == 1:
            raise OSError("undefined symbol: GOMP_parallel")
        return really(path, mode)

    monkeypatch.setattr(ctypes, "CDLL", open_library)
    path = FOLDER / f"{library.name}.so"
    Kernels(library.name, path)
    (first, _), (of_torch, mode), (second, _) = asked
    assert first == second == str(path)
    assert Path(of_torch).name.startswith("libgomp")
    assert mode == os.RTLD_GLOBAL | os.RTLD_NOLOAD

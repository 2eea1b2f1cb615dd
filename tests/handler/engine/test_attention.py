from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from compiled import needs_kernels
from handler.engine import attention
from handler.engine.attention import (
    Attend,
    NotPackable,
    Packing,
    attend_efficient,
    attend_flash,
    attend_kernel,
    attend_runs,
    choose_attention,
)
from handler.engine.kernels import Positions, kernels

CPU = torch.device("cpu")
LENGTHS = [1, 2, 3, 7, 7, 15, 16, 17, 31, 32, 33, 64, 65, 200]
PRECISIONS = {torch.float32: 2e-6, torch.bfloat16: 0.02}


@pytest.mark.parametrize("attend", [pytest.param(attend_kernel, marks=needs_kernels), attend_runs])
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(("heads", "size"), [(12, 32), (3, 64), (2, 8), (1, 80), (4, 16)])
def test_each_text_attends_to_itself_alone(
    attend: Attend, dtype: torch.dtype, heads: int, size: int
) -> None:
    torch.manual_seed(0)
    packing = Packing.of(LENGTHS, CPU)
    # three of the four quarters of a row, as a layer that computes them together would leave them
    rows = torch.randn(sum(LENGTHS), 4, heads, size).to(dtype)
    query, key, value = rows[:, 0], rows[:, 1], rows[:, 3]
    together = attend(query, key, value, packing, size**-0.5)
    assert together.dtype == dtype
    for start, stop in zip(packing.starts, packing.starts[1:], strict=False):
        q, k, v = (tensor[start:stop].transpose(0, 1).float() for tensor in (query, key, value))
        alone = scaled_dot_product_attention(q, k, v, scale=size**-0.5).transpose(0, 1)
        torch.testing.assert_close(
            together[start:stop].float(), alone, atol=PRECISIONS[dtype], rtol=PRECISIONS[dtype]
        )


@pytest.mark.parametrize("attend", [pytest.param(attend_kernel, marks=needs_kernels), attend_runs])
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    ("window", "size"), [(0, 32), (3, 32), (16, 64), (40, 8), (64, 32), (300, 32)]
)
def test_a_window_is_all_that_a_token_sees(
    attend: Attend, dtype: torch.dtype, window: int, size: int
) -> None:
    torch.manual_seed(0)
    packing = Packing.of(LENGTHS, CPU)
    query, key, value = torch.randn(3, sum(LENGTHS), 2, size).to(dtype)
    together = attend(query, key, value, packing, size**-0.5, Positions(window=window))
    for start, stop in zip(packing.starts, packing.starts[1:], strict=False):
        places = torch.arange(stop - start)
        seen = (places[:, None] - places).abs() <= window
        q, k, v = (tensor[start:stop].transpose(0, 1).float() for tensor in (query, key, value))
        alone = scaled_dot_product_attention(q, k, v, seen, scale=size**-0.5).transpose(0, 1)
        torch.testing.assert_close(
            together[start:stop].float(), alone, atol=PRECISIONS[dtype], rtol=PRECISIONS[dtype]
        )


@needs_kernels
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("size", [8, 32, 48, 64])
def test_distances_add_what_tables_say(dtype: torch.dtype, size: int) -> None:
    torch.manual_seed(0)
    heads, longest = 3, max(LENGTHS)
    packing = Packing.of(LENGTHS, CPU)
    query, key, value = torch.randn(3, sum(LENGTHS), heads, size).to(dtype)
    distances = 2 * longest - 1 + 32
    bias = torch.randn(heads, distances)
    keys, queries = torch.randn(2, heads, distances, size).to(dtype)
    together_in_depth = 1 if dtype == torch.float32 else 2
    laid_out = [
        table.view(heads, distances, -1, together_in_depth).transpose(1, 2).contiguous()
        for table in (keys, queries)
    ]
    positions = Positions(
        -1, distances, longest - 1, bias.data_ptr(), *(table.data_ptr() for table in laid_out)
    )
    together = attend_kernel(query, key, value, packing, size**-0.5, positions)
    for start, stop in zip(packing.starts, packing.starts[1:], strict=False):
        q, k, v = (tensor[start:stop].transpose(0, 1).float() for tensor in (query, key, value))
        places = torch.arange(stop - start)
        at = places - places[:, None] + longest - 1
        added = bias[:, at] + torch.einsum("hid,hijd->hij", q, keys.float()[:, at])
        added += torch.einsum("hjd,hijd->hij", k, queries.float()[:, at])
        scores = (q @ k.transpose(1, 2) + added) * size**-0.5
        alone = (scores.softmax(-1) @ v).transpose(0, 1)
        torch.testing.assert_close(
            together[start:stop].float(), alone, atol=PRECISIONS[dtype], rtol=10 * PRECISIONS[dtype]
        )


def test_only_kernels_know_distances() -> None:
    query = torch.randn(3, 2, 8)
    packing = Packing.of([3], CPU)
    for attend in (attend_runs, attend_flash, attend_efficient):
        with pytest.raises(NotPackable, match="distances"):
            attend(query, query, query, packing, 1.0, Positions(window=-1, distances=3))
    with pytest.raises(NotPackable, match="neighbours"):
        attend_efficient(query, query, query, packing, 1.0, Positions(window=3))


@needs_kernels
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_large_scores_do_not_overflow(dtype: torch.dtype) -> None:
    packing = Packing.of([5, 40], CPU)
    query, key, value = (torch.randn(45, 2, 32).to(dtype) * 60 for _ in range(3))
    found = attend_kernel(query, key, value, packing, 1.0)
    assert found.isfinite().all()


@needs_kernels
def test_heads_that_do_not_lie_side_by_side_are_refused() -> None:
    tensor = torch.randn(4, 8, 2).transpose(1, 2)
    with pytest.raises(ValueError, match="cannot read"):
        attend_kernel(tensor, tensor, tensor, Packing.of([4], CPU), 1.0)


def test_without_kernels_torch_attends(monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels() is not None:
        assert choose_attention(CPU, torch.float32)[1] is attend_kernel
    assert choose_attention(CPU, torch.float16)[1] is attend_runs
    monkeypatch.setattr("handler.engine.attention.kernels", lambda: None)
    assert choose_attention(CPU, torch.float32) == ("sdpa", attend_runs)


@pytest.mark.parametrize("size", [26, 32, 80])
def test_heads_of_odd_sizes_are_widened_for_a_gpu(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []

    def flash(
        query: torch.Tensor, *rest: object, scale: float, window_size: tuple[int, int]
    ) -> torch.Tensor:
        assert window_size == (-1, -1)
        widths.append(query.shape[-1])
        key, value, starts = rest[:3]
        assert isinstance(key, torch.Tensor)
        assert isinstance(value, torch.Tensor)
        assert isinstance(starts, torch.Tensor)
        return attend_runs(query, key, value, Packing([5, 3], starts), scale)

    monkeypatch.setattr(attention, "_varlen_attn", flash)
    packing = Packing.of([5, 3], CPU)
    query, key, value = torch.randn(3, 8, 2, size)
    found = attend_flash(query, key, value, packing, size**-0.5)
    assert widths == [-(-size // 8) * 8]
    expected = attend_runs(query, key, value, packing, size**-0.5)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_gpus_attend_by_what_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda:0")
    for capability, dtype, expected in (
        ((9, 0), torch.bfloat16, ("flash", attend_flash)),
        ((9, 0), torch.float32, ("efficient", attend_efficient)),
        ((7, 5), torch.float16, ("efficient", attend_efficient)),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert choose_attention(gpu, dtype) == expected

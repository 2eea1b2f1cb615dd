"""Triton's kernels in its interpreter, against torch in float64."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import gelu, layer_norm
from transformers import AutoConfig, AutoModelForSequenceClassification

pytest.importorskip("triton", reason="there is no Triton")
# its own functions are interpreted too, if it is imported by now; what it is compiled of cannot be again
for name in list(sys.modules):
    if name.partition(".")[0] == "triton" and not name.startswith("triton._C"):
        del sys.modules[name]
os.environ["TRITON_INTERPRET"] = "1"
kernels: Any = pytest.importorskip("handler.engine.gpu.kernels")
del os.environ["TRITON_INTERPRET"]

import tiny  # noqa: E402
from handler.engine.attention import Packing  # noqa: E402
from handler.engine.classifier import Classifier  # noqa: E402
from handler.engine.encoders import ByBuckets  # noqa: E402
from handler.engine.gpu import plain  # noqa: E402
from handler.engine.gpu.encoder import GpuEncoder  # noqa: E402
from handler.engine.kernels import Positions  # noqa: E402
from handler.engine.loading import load_model  # noqa: E402
from handler.engine.packing import PackedModel  # noqa: E402
from handler.values import Encoding  # noqa: E402
from on_gpu import as_on_a_gpu, attend  # noqa: E402


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")


DTYPES = [torch.bfloat16, torch.float16, torch.float32]
WAYS = pytest.mark.parametrize("way", [kernels, plain], ids=["Triton", "torch"])


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Rounded once or, as torch's own do, twice; below zero GELU is a difference of near numbers."""
    allowed = 32 * torch.finfo(found.dtype).eps
    torch.testing.assert_close(found.double(), expected, rtol=allowed / 16, atol=allowed)


@WAYS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [26, 64, 96])
@pytest.mark.parametrize("adds_sums", [False, True])
def test_layer_norm_of_a_sum(way: Any, dtype: torch.dtype, size: int, adds_sums: bool) -> None:
    values, residual = torch.randn(2, 5, size, dtype=dtype)
    norm = torch.nn.LayerNorm(size, eps=1e-3, dtype=dtype).requires_grad_(False)
    norm.weight.normal_()
    norm.bias.normal_()
    added_to, normed = way.add_norm(values, residual, norm, adds_sums)
    sums = values.double() + residual.double()
    weight, bias = norm.weight.double(), norm.bias.double()
    expected = layer_norm(sums, (size,), weight, bias, 1e-3)
    close(normed, expected)
    close(added_to, sums if adds_sums else expected)


def test_a_norm_without_a_bias_and_rows_that_lie_apart() -> None:
    norm = torch.nn.LayerNorm(64, bias=False).requires_grad_(False)
    residual = torch.randn(5, 3, 64)[:, 1]
    values = torch.randn(5, 64)
    for adds_sums in (False, True):
        for one, other in zip(
            kernels.add_norm(values, residual, norm, adds_sums),
            plain.add_norm(values, residual, norm, adds_sums),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@WAYS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [7, 1_030])
def test_gelu_is_the_exact_one(way: Any, dtype: torch.dtype, size: int) -> None:
    values = 3 * torch.randn(3, 2 * size, dtype=dtype)
    first, gate = values.double().chunk(2, dim=-1)
    found = way.gated_gelu(values)
    close(found, gelu(first) * gate)
    if dtype == torch.float32:  # the other GELU is another
        assert (found - gelu(first, approximate="tanh") * gate).abs().max() > 1e-4


@WAYS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "size"), [(3, 6), (4, 32)])
def test_queries_and_keys_are_turned_and_values_are_not(
    way: Any, dtype: torch.dtype, heads: int, size: int
) -> None:
    qkv = torch.randn(5, 3, heads, size, dtype=dtype)
    before = qkv.double()
    places = torch.tensor([0, 1, 2, 0, 6])
    angles = torch.rand(7, size // 2) * 6
    found = way.turn(qkv, places, angles.cos(), angles.sin())
    as_complex = torch.complex(*before[:, :2].chunk(2, dim=-1))
    turned = (
        as_complex * torch.polar(torch.ones(1).double(), angles.double())[places][:, None, None]
    )
    close(found[:, :2].contiguous(), torch.cat([turned.real, turned.imag], dim=-1))
    assert torch.equal(found[:, 2].double(), before[:, 2])


@WAYS
@pytest.mark.parametrize("architecture", ["bert", "albert", "modernbert"])
def test_an_encoder_gives_what_the_model_s_own_gives(
    way: Any, architecture: str, tmp_path: Path
) -> None:
    folder = tiny.make_model(tmp_path / "m", architecture)
    packed = as_on_a_gpu(load_model(folder, "float32"), architecture != "modernbert")
    texts = [Encoding([7] * length, [0] * length, truncated=False) for length in (3, 1, 9)]
    with torch.inference_mode():
        expected = packed(texts)
        encoder = GpuEncoder(packed, way, tiny.LONGEST)
        torch.testing.assert_close(packed(texts), expected, atol=2e-5, rtol=0)
        encoder.undo()
        assert torch.equal(packed(texts), expected)


DEBERTA = {"relative_attention": True, "position_buckets": 4, "max_relative_positions": 12}


@pytest.mark.parametrize("dtype", DTYPES[1:])  # the interpreter multiplies no bfloat16
@pytest.mark.parametrize("tables", [{"bias"}, {"keys", "queries"}, {"queries"}, set()])
def test_distances_do_what_their_tables_say(dtype: torch.dtype, tables: set[str]) -> None:
    lengths, heads, size, buckets, longest = [1, 70, 0, 5, 130], 2, 18, 7, 130
    qkv = torch.randn(sum(lengths), 3, heads, size, dtype=dtype)
    query, key, value = qkv.unbind(1)
    rows = torch.randint(buckets, (2 * longest - 1,), dtype=torch.int32)
    kept: dict[str, torch.Tensor] = {
        name: torch.randn(heads, buckets, size, dtype=dtype) for name in tables - {"bias"}
    }
    kept |= {name: torch.randn(heads, buckets) for name in tables & {"bias"}}
    positions = Positions(window=-1, distances=len(rows), nearest=longest - 1)
    positions.kept = {**kept, "rows": rows}
    packing = Packing.of(lengths, torch.device("cpu"))
    found = kernels.attend(query, key, value, packing, 0.3, positions)
    for start, stop in zip(packing.starts, packing.starts[1:], strict=False):
        q, k, v = (each[start:stop].transpose(0, 1).double() for each in (query, key, value))
        places = torch.arange(stop - start)
        of_pairs = rows[(places - places[:, None]) + longest - 1].long().expand(heads, -1, -1)
        scores = q @ k.mT
        if "keys" in kept:
            scores += (q @ kept["keys"].double().mT).gather(2, of_pairs)
        if "queries" in kept:
            scores += (k @ kept["queries"].double().mT).gather(2, of_pairs.mT).mT
        scores *= 0.3
        if "bias" in kept:
            scores += torch.stack([kept["bias"][head][of_pairs[head]] for head in range(heads)])
        expected = (scores.softmax(dim=-1) @ v).transpose(0, 1)
        allowed = 64 * torch.finfo(dtype).eps
        torch.testing.assert_close(found[start:stop].double(), expected, atol=allowed, rtol=allowed)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("window", [0, 3, 64, 100])
def test_a_window_is_all_that_is_seen(dtype: torch.dtype, window: int) -> None:
    packing = Packing.of([1, 70, 5, 260], torch.device("cpu"))
    query, key, value = torch.randn(336, 3, 2, 16, dtype=dtype).unbind(1)
    found = kernels.attend(query, key, value, packing, 0.3, Positions(window=window))
    expected = attend(
        query.double(), key.double(), value.double(), packing, 0.3, Positions(window=window)
    )
    allowed = 64 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, atol=allowed, rtol=allowed)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("mpnet", {}),
        ("deberta-v2", {**DEBERTA, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}),
        ("deberta-v2", {**DEBERTA, "pos_att_type": ["c2p"]}),
        ("deberta-v2", {**DEBERTA, "pos_att_type": []}),
    ],
)
def test_attention_that_knows_distances(
    architecture: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {**tiny.ARCHITECTURES[architecture][0], **changes, "hidden_size": 24}
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **sizes, vocab_size=50, num_labels=3)
    config.max_position_embeddings = 210
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    texts = [
        Encoding(torch.randint(2, 50, (length,)).tolist(), [0] * length, truncated=False)
        for length in (3, 1, 70)
    ]
    with torch.inference_mode():
        expected, _ = Classifier(model, torch.device("cpu"), 0)(texts)
        monkeypatch.setattr("handler.engine.packing.Relative", ByBuckets)
        packed = PackedModel(model, kernels.attend, takes_token_types=False)
        packed.rounds_up = False
        torch.testing.assert_close(packed(texts), expected, atol=1e-4, rtol=0)
        assert expected.std(dim=0).max() > 0.02  # or nothing was compared
        GpuEncoder(packed, kernels, 210)
        torch.testing.assert_close(packed(texts), expected, atol=1e-4, rtol=0)

"""Graphs where there are none: a replay does again what was captured, on the same buffers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from handler.engine.attention import Packing, attend_runs
from handler.engine.gpu import graphs, plain
from handler.engine.gpu.encoder import GpuEncoder
from handler.engine.gpu.graphs import Bucket, Capturer, Graphs, buckets
from handler.engine.loading import load_model
from handler.engine.packing import PackedModel
from handler.values import Encoding
from on_gpu import Captured, as_on_a_gpu

LONGEST = tiny.LONGEST
PACKED = sorted(set(tiny.ARCHITECTURES) - {"mpnet", "deberta-v2"})


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer buckets, which is quicker."""
    monkeypatch.setattr(graphs, "_TOKENS", (32, 272, 1_040))


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def texts(*lengths: int) -> list[Encoding]:
    chance = random.Random(sum(lengths))
    rows = [[chance.randrange(50) for _ in range(length)] for length in lengths]
    return [Encoding(row, [0] * len(row), False) for row in rows]


@pytest.mark.parametrize("longest", [4, 64, 128, 512, 8_192])
def test_buckets_hold_what_they_say(longest: int) -> None:
    made = buckets(longest)
    assert [each.tokens for each in made] == sorted({each.tokens for each in made})
    chance = random.Random(longest)
    fitted = 0
    for _ in range(500):
        count = chance.choice([1, 2, 7, 40, 300])
        lengths = [chance.randint(1, min(longest, 600)) for _ in range(count)]
        for bucket in made:
            if not bucket.fits(lengths):
                continue
            fitted += 1
            whole = bucket.lengths(lengths)
            assert whole[:count] == lengths
            assert len(whole) == bucket.texts
            assert sum(whole) == bucket.tokens
            assert max(whole) <= bucket.longest
            starts = torch.tensor([0, *whole]).cumsum(0)
            assert starts[:-1].max() < bucket.tokens  # a first token to look at, of each
    assert fitted > 300


def test_sixteen_texts_are_small_and_what_is_too_large_fits_nowhere() -> None:
    made = buckets(512)
    for lengths in ([16], [1], [3] * 16, [128] * 16, [512] * 8, [511]):
        assert any(each.fits(lengths) for each in made)
    assert made[0].fits([16])
    assert not any(each.fits([513]) for each in made)
    assert not any(each.fits([512] * 9) for each in made)
    assert not any(each.fits([1] * 1_000) for each in made)


def test_a_full_bucket_has_no_token_left_and_so_does_not_fit() -> None:
    bucket = Bucket(tokens=32, texts=18, longest=32)
    assert bucket.fits([31])
    assert not bucket.fits([32])
    assert bucket.fits([1] * 17)
    assert not bucket.fits([1] * 18)
    assert bucket.lengths([3, 5]) == [3, 5, *[0] * 15, 24]


@pytest.mark.parametrize("architecture", ["bert", "roberta", "albert", "modernbert"])
@pytest.mark.usefixtures("_few")
def test_a_graph_gives_what_the_model_gives(architecture: str, tmp_path: Path) -> None:
    folder = tiny.make_model(tmp_path / "m", architecture)
    packed = as_on_a_gpu(load_model(folder, "float32"), architecture == "bert")
    capture = Captured()
    made = Graphs(packed, LONGEST).capture(capture)
    for number, lengths in enumerate([(7,), (1,), (64, 3, 2), (5,), (2, 2, 2), (30, 64, 1, 9, 40)]):
        some = texts(*lengths)
        found = made(some)
        assert capture.replays == number + 1
        states = made.states
        torch.testing.assert_close(found, packed(some), atol=1e-5, rtol=0)
        assert states is not None
        assert len(states) == len(some)
        assert states.isfinite().all()


@pytest.mark.usefixtures("_few")
def test_what_fits_no_graph_is_computed_without(model_dir: Path) -> None:
    packed = as_on_a_gpu(load_model(model_dir, "float32"), True)
    capture = Captured()
    made = Graphs(packed, LONGEST).capture(capture)
    some = texts(*[LONGEST] * 70)
    torch.testing.assert_close(made(some), packed(some))
    assert (capture.replays, made.states) == (0, None)


@pytest.mark.usefixtures("_few")
def test_what_was_given_before_is_not_overwritten(model_dir: Path) -> None:
    packed = as_on_a_gpu(load_model(model_dir, "float32"), True)
    made = Graphs(packed, LONGEST).capture(Captured())
    one = made(texts(5, 3))
    kept = one.clone()
    made(texts(6, 2))
    assert torch.equal(one, kept)


@pytest.mark.usefixtures("_few")
def test_a_number_beyond_a_table_never_gets_to_a_graph(model_dir: Path) -> None:
    packed = as_on_a_gpu(load_model(model_dir, "float32"), True)
    capture = Captured()
    made = Graphs(packed, LONGEST).capture(capture)
    with pytest.raises(IndexError, match="input_ids has 0 to 100000"):
        made([Encoding([0, 100_000], [0, 0], False)])
    assert capture.replays == 0


class NoWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what a capture refuses: that the CPU asks for a number."""

    def __torch_dispatch__(self, function: Any, _: Any, given: Any = (), others: Any = None) -> Any:
        aten = torch.ops.aten
        assert function not in (aten.item.default, aten._local_scalar_dense.default)
        assert function not in (aten.nonzero.default, aten.is_nonzero.default)
        return function(*given, **(others or {}))


@pytest.mark.parametrize("architecture", PACKED)
@pytest.mark.parametrize("encoder", [False, True])
def test_nothing_that_is_captured_asks_for_a_number(
    architecture: str, encoder: bool, tmp_path: Path
) -> None:
    model = load_model(tiny.make_model(tmp_path / "m", architecture), "bfloat16")
    packed = PackedModel(model, attend_runs, architecture in ("bert", "electra", "albert"))
    if encoder:
        GpuEncoder(packed, plain, LONGEST)
    inputs, packing = packed.read(texts(5, 9, 2)), Packing.of([5, 9, 2], torch.device("cpu"))
    refused = NoWaiting()  # type: ignore[no-untyped-call]
    with pytest.raises(AssertionError), refused:
        packing.starts[1].item()
    with refused:
        logits = packed.compute(inputs, packing)
    assert logits.shape == (3, 3)


@pytest.mark.parametrize(("code", "raised"), [(901, RuntimeError), (700, torch.AcceleratorError)])
def test_a_capture_that_fails_does_not_cost_the_gpu(
    code: int, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Stream", "graph_pool_handle", "current_stream", "stream", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, mock.MagicMock())
    vars(torch.cuda)["graph"].return_value.__exit__.return_value = False
    vars(torch.cuda)["stream"].return_value.__exit__.return_value = False
    error = torch.AcceleratorError("CUDA error: what it was\nand what else to know")
    error.error_code = code  # type: ignore[attr-defined]
    compute = mock.Mock(side_effect=[(torch.ones(1),), error])
    with pytest.raises(RuntimeError, match="what it was") as found:
        Capturer(torch.device("cuda:0"))(compute)
    assert type(found.value) is raised

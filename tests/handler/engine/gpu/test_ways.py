"""Which ways are taken, with what stands for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch

import tiny
from handler.engine.attention import Packing
from handler.engine.classifier import Classifier
from handler.engine.gpu import graphs, speed_up, ways
from handler.engine.gpu.encoder import Pointwise
from handler.engine.gpu.graphs import Graphs
from handler.engine.loading import load_model
from handler.engine.trial import Forward, Trial
from handler.values import Encoding
from on_gpu import Captured, Found, as_on_a_gpu

CPU = torch.device("cpu")
PACKED = sorted(set(tiny.ARCHITECTURES) - {"mpnet", "deberta-v2"})


@pytest.fixture(autouse=True)
def _inference(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(graphs, "_TOKENS", (32, 272, 1_040))  # which is quicker
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def _without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried in test_kernels.py, where it is slow."""

    def lacking() -> Pointwise:
        raise ModuleNotFoundError("No module named 'triton'")

    monkeypatch.setattr("handler.engine.gpu.ways._by_triton", lacking)


class Sped:
    """A model as `speed_up` leaves it."""

    def __init__(self, folder: Path, precision: str = "float32") -> None:
        self.plain = Classifier(load_model(folder, precision), CPU, 0)
        model = load_model(folder, precision)
        classifier = Classifier(model, CPU, 0)
        self.trial = Trial(model, classifier._padded, classifier._texts, tiny.LONGEST)
        self.packed = as_on_a_gpu(model, "token_type_ids" in classifier._inputs)
        self.ways: dict[str, str] = {}
        self.capture = Captured()

    def taken(self, way: str, reason: str, _: str) -> bool:
        self.ways[way] = reason
        return not reason

    def up(self, capture: Callable[..., tuple[Callable[[], None], Found]] | None = None) -> Forward:
        with mock.patch.object(ways, "Capturer", return_value=capture or self.capture):
            return speed_up(self.trial, self.packed, tiny.LONGEST, self.taken)


def texts(*lengths: int) -> list[Encoding]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(50, (length,), generator=generator).tolist() for length in lengths]
    return [Encoding(row, [0] * len(row), False) for row in rows]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", PACKED)
def test_all_are_taken_where_they_are_right(
    architecture: str, precision: str, tmp_path: Path
) -> None:
    sped = Sped(tiny.make_model(tmp_path / "m", architecture), precision)
    forward = sped.up()
    assert sped.ways == {
        "encoder by Triton": "ModuleNotFoundError: No module named 'triton'",
        "encoder by torch": "",
        "graphs": "",
    }
    assert isinstance(forward, Graphs)
    sped.capture.replays = 0
    for some in (texts(9), texts(3, 64, 7, 1, 7, 30, 2), texts(*[40] * 120)):
        tolerance = 2e-5 if precision == "float32" else 0.3
        expected, _ = sped.plain(some)
        torch.testing.assert_close(forward(some).float(), expected, atol=tolerance, rtol=0)
    assert sped.capture.replays == 2


def test_a_graph_that_repeats_old_offsets_is_refused(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a capture does whose offsets were copied from the CPU, or are constants of it."""

    class Stale(Packing):
        def __init__(self, lengths: list[int], starts: torch.Tensor) -> None:
            super().__init__(lengths, torch.tensor([0, *lengths]).cumsum(0).to(starts.dtype))

    monkeypatch.setattr(graphs, "Packing", Stale)
    sped = Sped(model_dir)
    assert sped.up() is sped.packed
    assert "would differ" in sped.ways["graphs"]


def test_what_cannot_be_captured_is_launched(model_dir: Path) -> None:
    def fail(_: Callable[[], Found]) -> tuple[Callable[[], None], Found]:
        raise RuntimeError("operation not permitted when stream is capturing")

    sped = Sped(model_dir)
    assert sped.up(fail) is sped.packed
    assert sped.ways["graphs"] == "RuntimeError: operation not permitted when stream is capturing"


def test_a_gpu_that_is_lost_ends_the_load(model_dir: Path) -> None:
    def fail(_: Callable[[], Found]) -> tuple[Callable[[], None], Found]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(torch.AcceleratorError):
        Sped(model_dir).up(fail)


def test_an_encoder_of_another_kind_keeps_its_own(model_dir: Path) -> None:
    sped = Sped(model_dir)
    sped.packed.parts = None
    own = sped.packed.base.encoder
    forward = sped.up()
    assert sped.ways["encoder by torch"] == "ValueError: no encoder that is known"
    assert sped.packed.base.encoder is own
    some = texts(5, 17)
    torch.testing.assert_close(forward(some), sped.plain(some)[0], atol=2e-5, rtol=0)


def test_an_encoder_that_is_wrong_is_undone(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sped = Sped(model_dir)
    own = sped.packed.base.encoder

    def wrong(values: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        return values, values

    monkeypatch.setattr("handler.engine.gpu.plain.add_norm", wrong)
    sped.up()
    assert "would differ" in sped.ways["encoder by torch"]
    assert sped.packed.base.encoder is own


def test_weights_are_not_kept_twice(model_dir: Path) -> None:
    sped = Sped(model_dir)
    before = sum(each.numel() for each in sped.packed._model.parameters())
    sped.up()
    assert sped.packed.parts is None
    encoder = sped.packed.base.encoder
    kept = {
        id(tensor): tensor.numel()
        for layer in encoder._layers
        for part in (layer.qkv, layer.attended, layer.inner, layer.outer)
        for tensor in (part.weight, part.bias)
    }
    left = sum(each.numel() for each in sped.packed._model.parameters())
    norms = 2 * 2 * 2 * 32  # of two layers
    assert before - left - norms == sum(kept.values())

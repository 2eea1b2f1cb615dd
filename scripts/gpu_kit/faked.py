"""What stands for a GPU in `scripts/gpu --fake`, and one model driven on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from unittest import mock

import torch
import triton
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import tiny
from handler.engine import Classifier, attention, classifier, model_inputs
from handler.engine.gpu import graphs, kernels, ways
from handler.engine.gpu.encoder import GpuEncoder
from handler.engine.gpu.graphs import Capture
from handler.engine.loading import keep_head_exact
from handler.engine.trial import Change, Forward
from handler.values import Encoding

from .checks import Found, Wrong

_DEVICE = torch.device("cuda:0")
_LENGTHS = (1, 2, 17, 64, 5)
_KERNELS = ("_add_norm", "_attend", "_gated_gelu", "_turn")
_SHARED = {75: 64 << 10, 90: 227 << 10}  # bytes that a program may have
_TYPES = {
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float32: "fp32",
    torch.int32: "i32",
    torch.int64: "i64",
}


def drive_model(
    architecture: str, config: dict[str, Any], dtype: torch.dtype, capability: tuple[int, int]
) -> Found:
    """A model as it is loaded and served, on a GPU of this capability."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def to_device(tensor: torch.Tensor, _: torch.device) -> torch.Tensor:
        with mode:
            return mode.from_tensor(tensor).to(_DEVICE)

    def encoder(*arguments: Any) -> GpuEncoder:
        with mode:
            return GpuEncoder(*arguments)

    compiled: Any = {name: Compiled(getattr(kernels, name), capability) for name in _KERNELS}
    with (
        mock.patch.object(attention, "to_device", to_device),
        mock.patch.object(model_inputs, "to_device", to_device),
        mock.patch.object(graphs, "to_device", to_device),
        mock.patch.object(graphs, "pinned", lambda tensor, _: tensor),
        mock.patch.object(classifier, "Trial", FakeTrial),
        mock.patch.object(classifier, "keep_sums_in_order"),
        mock.patch.object(ways, "GpuEncoder", encoder),
        mock.patch.object(ways, "Capturer", _capturer),
        mock.patch.multiple(kernels, **compiled),
        mock.patch.object(torch.cuda, "get_device_capability", return_value=capability),
        mock.patch.object(torch.cuda, "empty_cache"),
        mock.patch.object(torch.cuda, "device"),
        # numbers that are known are not computed on the GPU after all
        mock.patch.object(fake_tensor, "CONSTANT_NUMEL_LIMIT", 0),
    ):
        model = _fake(architecture, config, dtype, mode)
        return _drive(Classifier(model, _DEVICE, pad_token_id=0), model)


def _fake(
    architecture: str, config: dict[str, Any], dtype: torch.dtype, mode: FakeTensorMode
) -> PreTrainedModel:
    """A model without numbers on the GPU that is not there."""
    sizes, _, _ = tiny.ARCHITECTURES[architecture]
    settings = AutoConfig.for_model(
        architecture, **{**sizes, **config}, vocab_size=300, pad_token_id=1, num_labels=3
    )
    model = AutoModelForSequenceClassification.from_config(settings).to(dtype).eval()
    if dtype != torch.float32:
        keep_head_exact(model)
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = _moved(tensor, mode)
    model.to = lambda _: model  # it is there
    forward = model.forward

    def within(*arguments: Any, **others: Any) -> Any:
        with mode:
            return forward(*arguments, **others)

    vars(within)["__signature__"] = inspect.signature(forward)
    model.forward = within
    return model


def _moved(tensor: torch.Tensor, mode: FakeTensorMode) -> torch.Tensor:
    with mode:
        moved = mode.from_tensor(tensor.detach()).to(_DEVICE)
    wanted = isinstance(tensor, torch.nn.Parameter)
    return torch.nn.Parameter(moved, requires_grad=False) if wanted else moved


class FakeTrial:
    """What stands for the comparison at load: a change is kept that gives logits of the right shape."""

    longest, changes_itself = tiny.LONGEST, False

    def __init__(self, *_: object) -> None:
        self._texts = _texts()

    def differs(
        self, change: Callable[[], Change] | None, forward: Forward, alone: bool = False
    ) -> str:
        """See the real one."""
        changed = None
        try:
            changed = change() if change else None
            for texts in [[text] for text in self._texts] if alone else [self._texts]:
                _expect(forward(texts), len(texts))
        except Wrong:
            raise
        except Exception as error:  # as the trial takes it
            if changed:
                changed.undo()
            return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        return ""


class Compiled:
    """A kernel of Triton's that is compiled for the GPU in place of being launched there."""

    _done: ClassVar[set[str]] = set()

    def __init__(self, kernel: Any, capability: tuple[int, int]) -> None:
        self._kernel = kernel
        self._target = GPUTarget("cuda", 10 * capability[0] + capability[1], 32)

    def __getitem__(self, _: object) -> Callable[..., None]:
        return self._compile

    def _compile(self, *arguments: Any, num_warps: int = 4, **constants: Any) -> None:
        given = dict(zip(self._kernel.arg_names, arguments, strict=False))
        constants |= {name: None for name, argument in given.items() if argument is None}
        signature = {
            name: "constexpr" if name in constants else _type(given[name])
            for name in self._kernel.arg_names
        }
        wanted = f"{self._kernel} {self._target} {signature} {constants} {num_warps}"
        if wanted not in self._done:
            source = ASTSource(self._kernel, signature, constexprs=constants)
            made = triton.compile(source, target=self._target, options={"num_warps": num_warps})
            if made.metadata.shared > _SHARED[self._target.arch]:
                raise Wrong(f"{self._kernel} takes {made.metadata.shared} bytes of shared memory")
            self._done.add(wanted)


def _type(argument: torch.Tensor | int) -> str:
    """As Triton writes it."""
    return "i32" if isinstance(argument, int) else f"*{_TYPES[argument.dtype]}"


class Transfers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what the CPU waits for; a lone number is refused by tensors that have none."""

    count = 0

    def __torch_dispatch__(self, function: Any, _: Any, given: Any = (), others: Any = None) -> Any:
        found = function(*given, **(others or {}))
        if isinstance(found, torch.Tensor) and found.device.type == "cpu":
            self.count += any(isinstance(it, torch.Tensor) and it.is_cuda for it in given)
        return found


def _capturer(_: torch.device) -> Capture:
    """What stands for CUDA's graphs: what is captured is computed, twice as there."""

    def capture(compute: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        compute()
        return lambda: None, compute()

    return capture


def _texts() -> list[Encoding]:
    return [Encoding([7] * length, [0] * length, truncated=False) for length in _LENGTHS]


@torch.inference_mode()
def _drive(made: Classifier, model: PreTrainedModel) -> Found:
    texts = _texts()
    _expect(made._padded(texts), len(texts))
    _embedded(model)
    made.speed_up(tiny.LONGEST)
    made.token_budget = 256
    wanted = dict.fromkeys(("products", "packed", "encoder by Triton", "graphs"), "taken")
    if made.ways != wanted:
        raise Wrong(f"ways: {made.ways}")
    with Transfers() as transfers:  # type: ignore[no-untyped-call]
        logits, problems = made([*texts, *texts * 20])  # several micro-batches, of both kinds
    if transfers.count != 1:
        raise Wrong(f"{transfers.count} transfers back for a batch")
    logits, problems = logits[: len(texts)], problems[: len(texts)]
    if any(problems) or tuple(logits.shape) != (len(texts), 3) or logits.device.type != "cpu":
        raise Wrong(f"{problems}, {tuple(logits.shape)} on {logits.device}")
    _run_out(made, texts)
    return Found(f"{made.forward}, attention {made.attention}, all ways taken")


def _expect(logits: torch.Tensor, texts: int) -> None:
    if tuple(logits.shape) != (texts, 3) or logits.device != _DEVICE:
        raise Wrong(f"logits {tuple(logits.shape)} on {logits.device}")


def _embedded(model: PreTrainedModel) -> None:
    """What explanations ask of a model, from embeddings to logits; the way back takes a real GPU."""
    weight = model.get_input_embeddings().weight
    with weight.fake_mode:
        shape = (2, 9, weight.shape[1])
        embeds = torch.zeros(shape, dtype=weight.dtype, device=_DEVICE)
        mask = torch.ones(2, 9, dtype=torch.int64, device=_DEVICE)
        logits = model(inputs_embeds=embeds, attention_mask=mask).logits
    if tuple(logits.shape) != (2, 3):
        raise Wrong(f"logits {tuple(logits.shape)} from embeddings")


def _run_out(made: Classifier, texts: Sequence[Encoding]) -> None:
    """Too little memory for more than 40 tokens at once."""
    forward = made._forward

    def limited(encodings: Sequence[Encoding]) -> torch.Tensor:
        if sum(len(each.input_ids) for each in encodings) > 40:
            raise torch.OutOfMemoryError
        return forward(encodings)

    with mock.patch.object(made, "_forward", limited):
        _, problems = made(texts)
    codes = [problem.code if problem else "" for problem in problems]
    if codes != ["", "", "", "overloaded", ""] or not made.out_of_memory:
        raise Wrong(f"out of memory: {codes}")

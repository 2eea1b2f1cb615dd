"""The whole CUDA path without a GPU: tensors that have a shape, a type and a device, but no numbers.

A tensor on the wrong device, an index of the wrong type, a shape or a head size that a kernel refuses:
all of that is seen. It takes torch's CUDA build. What depends on numbers is not seen, so the comparison
at load is left out, and both of its outcomes are driven.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest import mock

import torch
import transformers
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

import tiny
from handler.engine import Classifier, attention, classifier, packing
from handler.engine.loading import keep_head_exact
from handler.engine.modules import Replacement, batch_invariant_on_gpu
from handler.engine.packing import PackedModel
from handler.values import Encoding

from . import checks, models
from .checks import Check, Found, Wrong

_DEVICE = torch.device("cuda:0")
_LENGTHS = (1, 2, 17, 64, 5)
_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
# of GPUs that have flash attention, and of those before them
_CAPABILITIES = ((9, 0), (7, 5))
_UNPACKED = {"mpnet", "deberta-v2"}
_BY_FLASH_ALONE = {"modernbert"}  # windows


def drive() -> int:
    """Drive everything, print a line each; 1 where something is wrong, 2 without a CUDA build."""
    if not torch.version.cuda:
        print(
            f"Error: torch {torch.__version__} is no build for CUDA; install one in an environment of "
            "its own and name its Python, PYTHON=… scripts/gpu --fake",
            file=sys.stderr,
        )
        return 2
    transformers.utils.logging.set_verbosity_error()
    logging.disable(logging.WARNING)  # memory is to run out
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, no GPU")
    rows = []
    for check in _checks():
        rows.append(checks.run("fake", check))
        checks.show(rows[-1])
    wrong = sum(row.outcome != "ok" for row in rows)
    print(f"{len(rows) - wrong} right, {wrong} wrong")
    return int(wrong > 0)


def _checks() -> list[Check]:
    found = []
    sizes = [(f"heads of {size}", {"hidden_size": 4 * size}) for size in models.HEAD_SIZES]
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        *((name, name, {}) for name in tiny.ARCHITECTURES),
        *((name, "bert", config) for name, config in sizes),
    ]
    for capability in _CAPABILITIES:
        for name, architecture, config in kinds:
            for dtype in _DTYPES:
                where = f"{name}, {str(dtype)[6:]}, sm_{capability[0]}{capability[1]}"
                found.append(Check(where, partial(_model, architecture, config, dtype, capability)))
    return found


def _model(
    architecture: str, config: dict[str, Any], dtype: torch.dtype, capability: tuple[int, int]
) -> Found:
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def to_device(tensor: torch.Tensor, _: torch.device) -> torch.Tensor:
        with mode:
            return mode.from_tensor(tensor).to(_DEVICE)

    def inputs(given: dict[str, torch.Tensor], device: torch.device, _: Any) -> dict[str, Any]:
        return {name: to_device(tensor, device) for name, tensor in given.items()}

    with (
        mock.patch.object(attention, "to_device", to_device),
        mock.patch.object(classifier, "inputs_to_device", inputs),
        mock.patch.object(packing, "inputs_to_device", inputs),
        mock.patch.object(torch.cuda, "get_device_capability", return_value=capability),
        mock.patch.object(torch.cuda, "empty_cache"),
        # numbers that are known are not computed on the GPU after all
        mock.patch.object(fake_tensor, "CONSTANT_NUMEL_LIMIT", 0),
    ):
        model = _fake(architecture, config, dtype, mode)
        return _drive(architecture, Classifier(model, _DEVICE, pad_token_id=0), model, dtype)


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


@torch.inference_mode()
def _drive(
    architecture: str, made: Classifier, model: PreTrainedModel, dtype: torch.dtype
) -> Found:
    texts = [Encoding([7] * length, [0] * length, truncated=False) for length in _LENGTHS]
    _expect(made._padded(texts))
    Replacement(model, batch_invariant_on_gpu)
    _expect(made._padded(texts))
    _embedded(model)
    name, attend = attention.choose_attention(_DEVICE, dtype)
    reason = _pack(made, model, attend, texts)
    unpacked = _UNPACKED | (_BY_FLASH_ALONE if name != "flash" else set())
    if bool(reason) is not (architecture in unpacked):
        raise Wrong(f"packed: {reason or 'though it should not be'}")
    logits, problems = made(texts)
    if any(problems) or tuple(logits.shape) != (len(texts), 3) or logits.device.type != "cpu":
        raise Wrong(f"{problems}, {tuple(logits.shape)} on {logits.device}")
    _run_out(made, texts)
    return Found(f"{name}, {reason or 'packed'}")


def _pack(
    made: Classifier, model: PreTrainedModel, attend: Callable[..., Any], texts: Sequence[Encoding]
) -> str:
    """Have it packed; why it cannot be."""
    try:
        changed = PackedModel(model, attend, "token_type_ids" in made._inputs)
    except Exception as error:  # as the trial takes it
        return _short(error)
    try:
        _expect(changed.checked(texts))
    except Exception as error:  # as the trial takes it
        changed.undo()
        return _short(error)
    made._packed, made.forward = changed, "packed"
    return ""


def _short(error: Exception) -> str:
    return f"padded: {' '.join(str(error).split())[:80]}"


def _expect(logits: torch.Tensor) -> None:
    if tuple(logits.shape) != (len(_LENGTHS), 3) or logits.device != _DEVICE:
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

"""A folder's classifier, from safetensors alone, in the precision that it will be served in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from .errors import LoadError
from .kernels.library import kernels
from .modules import Replacement, quantized
from .packed import padding_index


def load_model(model_dir: Path, precision: str) -> PreTrainedModel:
    """The folder's classifier in a precision other than `auto`; LoadError says what is wrong."""
    dtype = torch.float32 if precision == "int8" else getattr(torch, precision)
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            model_dir,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many types for a broken folder
        raise LoadError(f"the model cannot be loaded: {error}") from error
    refuse_missing_weights(model, report)
    if precision == "int8":
        model = quantize_model(model)
    if model.dtype != torch.float32:
        keep_head_exact(model)
    return model


def keep_head_exact(model: PreTrainedModel) -> None:
    """Have the layers behind the encoder compute in float32: they are small, and logits are large.

    In bfloat16 a logit of 10 is right to 0.03, which moves a probability by up to 0.008.
    """

    def cast(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            value.float() if torch.is_tensor(value) and value.is_floating_point() else value
            for value in inputs
        )

    behind = [layer for layer in model.children() if layer is not model.base_model]
    for layer in (*behind, getattr(model.base_model, "pooler", None)):
        if layer is not None:
            layer.float().register_forward_pre_hook(cast)


def replace_in_encoder(
    model: PreTrainedModel, substitute: Callable[[torch.nn.Module], torch.nn.Module | None]
) -> Replacement:
    """Put others in the place of modules, but for those behind the encoder."""
    base = model.base_model
    return Replacement(base, substitute, besides=getattr(base, "pooler", None))


def quantize_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its encoder's linear layers in int8, and all else in bfloat16."""
    library = kernels()
    assert library is not None
    if not len(replace_in_encoder(model, partial(quantized, kernels=library))):
        raise LoadError(
            "none of the model's layers can be quantized: int8 needs sizes that are multiples of 64; "
            "choose another precision"
        )
    return model.to(torch.bfloat16)


def refuse_missing_weights(model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """LoadError where transformers' loading report names weights that the folder lacks.

    transformers fills them with random numbers, and the model would answer random probabilities.
    """
    if missing := sorted(report["missing_keys"]):
        raise LoadError(
            f"the weights lack {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}: this is "
            f"no fine-tuned {type(model).__name__}; fine-tune it, or name the right architecture in "
            "config.json"
        )


def longest_input(model: PreTrainedModel, tokenizer_max_length: int) -> int:
    """Longest input in tokens that the model's positions and its tokenizer allow."""
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer_max_length
    if (index := padding_index(model)) is not None:
        positions -= index + 1
    return int(min(positions, tokenizer_max_length))

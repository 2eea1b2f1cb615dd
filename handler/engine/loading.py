"""A folder's classifier, from safetensors alone, in the precision that it will be served in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from ..errors import LoadError
from .kernels import kernels
from .modules import Replacement, quantized
from .packing import padding_index

# weights that no sequence classification computes with: buffers of older releases, and heads and losses
# of the training before
_HARMLESS = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|(attn|attention)\.bias)$"
    r"|(^|\.)pooler\.dense\.(weight|bias)$"
    r"|^(cls|lm_head|lm_loss|mlm_head|qa_outputs|generator_predictions|discriminator_predictions)\."
    r"|^vocab_(transform|layer_norm|projector)\."
    r"|^(loss|loss_fct|loss_fn|criterion)\."
)

# transformers says 10³⁰ tokens where a tokenizer names no limit
UNLIMITED = 10**30


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
            ignore_mismatched_sizes=True,  # they are told in `report`
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many types for a broken folder
        raise LoadError(f"the model cannot be loaded: {error}") from error
    check_weights(model, report)
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


def check_weights(model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """LoadError where transformers' loading report says that weights and model are not each other's.

    What the folder lacks transformers fills with random numbers, and what the model does not use it
    drops: the probabilities would be wrong without a word.
    """
    architecture = type(model).__name__
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise LoadError(
            f"{name} is {list(found)} in the weights, and config.json makes it {list(wanted)}: where "
            "that is the number of labels, name as many in id2label; else take the config.json that "
            "was saved with these weights"
        )
    if missing := sorted(report["missing_keys"]):
        raise LoadError(
            f"the weights lack {_some(missing)}: this is no fine-tuned {architecture}; fine-tune it, or "
            "name the right architecture in config.json"
        )
    declared = model.config.architectures or [architecture]
    if architecture not in declared:
        raise LoadError(
            f"config.json says that this is a {declared[0]}, which classifies no texts; if it is a "
            f'{architecture} after all, write {{"architectures": ["{architecture}"]}} into it'
        )
    if unused := sorted(key for key in report["unexpected_keys"] if not _HARMLESS.search(key)):
        raise LoadError(
            f"the weights hold {_some(unused)}, which {architecture} does not use as config.json "
            "describes it, so its probabilities would not be those that were trained; save the model "
            "with save_pretrained() by the transformers that is installed here, or correct config.json"
        )


def check_vocabulary(model: PreTrainedModel, vocabulary: Mapping[str, int]) -> None:
    """LoadError where the tokenizer has tokens that the model has no embedding of."""
    try:
        rows = len(model.get_input_embeddings().weight)
    except (NotImplementedError, AttributeError):  # embeddings of another kind
        return
    if beyond := sorted(token for token, index in vocabulary.items() if index >= rows):
        raise LoadError(
            f"the tokenizer has {_some([repr(token) for token in beyond])}, of which the model, with "
            f"{rows} embeddings, knows nothing; take the tokenizer that it was trained with, or call "
            "resize_token_embeddings() and train it with this one"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def inputs_of(model: PreTrainedModel, gives_token_types: bool) -> list[str]:
    """What of a tokenizer's output the model is sent, as transformers' pipeline does."""
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * gives_token_types
    parameters = inspect.signature(model.forward).parameters
    return [name for name in names if name in parameters]


def longest_input(model: PreTrainedModel, tokenizer_max_length: int) -> int:
    """Longest input in tokens that the model's positions and its tokenizer allow.

    Zero and numbers below it stand for no limit, as XLNet's configuration and some tokenizers' write it.
    """
    limits = [UNLIMITED]
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    if positions > 0:
        index = padding_index(model)
        limits.append(positions if index is None else positions - index - 1)
    if tokenizer_max_length > 0:
        limits.append(tokenizer_max_length)
    return int(min(limits))

"""What a model reads, checked before it goes to the device.

A CPU refuses a number beyond a table; a GPU that is given one is lost to the process.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from .attention import to_device

_TABLES = {"token_type_ids": "token_type_embeddings", "position_ids": "position_embeddings"}


def embedding_sizes(model: PreTrainedModel) -> dict[str, int]:
    """How many rows the tables have that the inputs of a model are looked up in, where they are known."""
    embeddings = getattr(model.base_model, "embeddings", None)
    tables = {name: getattr(embeddings, table, None) for name, table in _TABLES.items()}
    try:
        tables["input_ids"] = model.get_input_embeddings()
    except NotImplementedError:  # tokens are not looked up in one table
        tables["input_ids"] = None
    return {
        name: table.num_embeddings
        for name, table in tables.items()
        if isinstance(table, torch.nn.Embedding)
    }


def inputs_to_device(
    inputs: Mapping[str, torch.Tensor], device: torch.device, sizes: Mapping[str, int]
) -> dict[str, torch.Tensor]:
    """The inputs on the device; IndexError where a number is beyond its table."""
    if device.type != "cpu":
        for name, tensor in inputs.items():
            if (rows := sizes.get(name)) is None:
                continue
            smallest, largest = map(int, tensor.aminmax())
            if smallest < 0 or largest >= rows:
                raise IndexError(f"{name} has {smallest} to {largest}, its table {rows} rows")
    return {name: to_device(tensor, device) for name, tensor in inputs.items()}

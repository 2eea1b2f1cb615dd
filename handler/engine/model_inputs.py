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
    if device.type == "cpu":
        return dict(inputs)
    refuse_beyond(inputs, sizes)
    return apart(to_device(together(inputs), device), inputs)


def refuse_beyond(inputs: Mapping[str, torch.Tensor], sizes: Mapping[str, int]) -> None:
    """IndexError where a number is beyond its table."""
    for name, tensor in inputs.items():
        if (rows := sizes.get(name)) is None:
            continue
        smallest, largest = map(int, tensor.aminmax())
        if smallest < 0 or largest >= rows:
            raise IndexError(f"{name} has {smallest} to {largest}, its table {rows} rows")


def together(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """All inputs in one row, which is one transfer."""
    return torch.cat([tensor.flatten() for tensor in inputs.values()])


def apart(row: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inputs that lie in a row, which are of the same names and shapes as these."""
    parts = torch.split(row, [tensor.numel() for tensor in inputs.values()])
    return {
        name: part.view(tensor.shape)
        for (name, tensor), part in zip(inputs.items(), parts, strict=True)
    }

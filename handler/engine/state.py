"""What a model's modules hold, so that one that changes itself can be put back."""

from __future__ import annotations

from collections.abc import Iterator
from operator import is_
from typing import Any

from transformers import PreTrainedModel


class State:
    """A model as it is now.

    Some models change while they compute: at its first short text BigBird replaces its sparse attention
    for good, and rotary embeddings may stretch at a long one. A text would then get other probabilities
    than from a fresh model, depending on what came before it.

    Kept is which values attributes have, not what is in tensors: no model writes into its own.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        holders: list[Any] = [*model.modules(), *_configs(model.config)]
        self._containers = [
            (container, dict(container)) for holder in holders for container in _containers(holder)
        ]

    def restore(self) -> bool:
        """Put back what has changed; whether anything had."""
        changed = [each for each in self._containers if not _same(*each)]
        for container, values in changed:
            container.clear()
            container.update(values)
        return bool(changed)


def _configs(config: Any) -> Iterator[Any]:
    yield config
    for name in getattr(config, "sub_configs", ()):
        if (part := getattr(config, name, None)) is not None:
            yield from _configs(part)


def _containers(holder: Any) -> Iterator[dict[Any, Any]]:
    """A module's attributes; and its parameters, buffers, modules and hooks, which are in dicts."""
    yield vars(holder)
    for value in vars(holder).values():
        if isinstance(value, dict):
            yield value


def _same(container: dict[Any, Any], values: dict[Any, Any]) -> bool:
    if len(container) != len(values):
        return False
    if all(map(is_, container, values)):
        return all(map(is_, container.values(), values.values()))
    return container.keys() == values.keys() and all(  # perhaps in another order
        container[name] is value for name, value in values.items()
    )

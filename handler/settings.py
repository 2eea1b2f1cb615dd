"""The `handler:` section of an archive's `model-config.yaml`, read once into one validated object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import LoadError
from .values import LONG_TEXTS

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")
AGGREGATIONS = ("mean", "max")


def _setting(default: Any, allowed: str, accepts: Callable[[Any], bool]) -> Any:
    return field(default=default, metadata={"allowed": allowed, "accepts": accepts})


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_positive(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _is_positive_or_none(value: Any) -> bool:
    return value is None or _is_positive(value)


@dataclass(frozen=True)
class Settings:
    """How an archive wants to be served.

    precision       number format of weights and activations; logits are float32 from there on. auto:
                    bfloat16 where the hardware multiplies it, float32 elsewhere; int8: linear layers,
                    the rest in bfloat16
    pairs           every text has a second one, so that a text alone is an error
    max_length      longest input in tokens; None: the longest that model and tokenizer allow
    long_text       what happens to a longer text: it is cut, is an error, or is classified in chunks
    stride          tokens by which chunks overlap; at most half of what a chunk holds
    aggregation     logits of a text from those of its chunks: their mean, or the highest of each label
    token_budget    tokens in one micro-batch, padding included; None: what was fastest at load
    max_texts       texts in one request
    max_characters  characters of one text, or pair; checked before it is tokenized
    max_depth       lists and objects inside one another in a JSON body
    buffered_reader read TorchServe's messages in large pieces, where its release is known
    threads         threads of one CPU worker; None: the cores shared out among the workers
    """

    precision: str = _setting(
        "auto", f"one of {', '.join(PRECISIONS)}", lambda value: value in PRECISIONS
    )
    pairs: bool = _setting(False, "true or false", lambda value: isinstance(value, bool))
    max_length: int | None = _setting(None, "a whole number above 0", _is_positive_or_none)
    long_text: str = _setting(
        "truncate", f"one of {', '.join(LONG_TEXTS)}", lambda value: value in LONG_TEXTS
    )
    stride: int = _setting(64, "a whole number", _is_whole)
    aggregation: str = _setting(
        "mean", f"one of {', '.join(AGGREGATIONS)}", lambda value: value in AGGREGATIONS
    )
    token_budget: int | None = _setting(None, "a whole number above 0", _is_positive_or_none)
    max_texts: int = _setting(128, "a whole number above 0", _is_positive)
    max_characters: int = _setting(100_000, "a whole number above 0", _is_positive)
    max_depth: int = _setting(16, "a whole number above 0", _is_positive)
    buffered_reader: bool = _setting(True, "true or false", lambda value: isinstance(value, bool))
    threads: int | None = _setting(None, "a whole number above 0", _is_positive_or_none)

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not setting.metadata["accepts"](value):
                raise LoadError(
                    f"handler.{setting.name} is {value!r}; allowed is {setting.metadata['allowed']}"
                )

    def as_dict(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as `model-config.yaml` holds them."""
        return {
            setting.name: value
            for setting in fields(self)
            if (value := asdict(self)[setting.name]) != setting.default
        }


def read_settings(section: Any) -> Settings:
    """Validate the `handler:` section; LoadError names the key and what is allowed.

    `section` is what the YAML parser made of it: a mapping, or None where it is missing.
    """
    if section is None:
        return Settings()
    if not isinstance(section, dict):
        raise LoadError("model-config.yaml: handler must be a mapping of settings")
    known = [setting.name for setting in fields(Settings)]
    for key in section:
        if key not in known:
            raise LoadError(
                f"model-config.yaml: handler.{key} is not a setting; known are {', '.join(known)}"
            )
    return Settings(**section)

"""What the positions of tokens do to the attention between them, beyond embeddings of them.

transformers computes what distances add for all pairs of tokens of a padded batch. In a row of many texts
that would be most of the work, so here it is a table of distances, made once for each layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.deberta_v2 import modeling_deberta_v2 as deberta

from ..attention import NotPackable
from ..kernels import LANES, NO_POSITIONS, Positions
from .parts import Parts

_LONGEST = 512  # tokens that tables are made for at first; they grow with what is met
_BEYOND = 32  # columns that the kernels read past the last distance

# distances of a key from a query, below zero where it comes before → rows of tables
Buckets = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Tables:
    """Of one layer, a row a bucket of distances.

    bias            what is added to a score, [heads, buckets]
    keys            what a query is multiplied by beside the key, [heads, buckets, size]
    queries         what a key is multiplied by beside the query, the same
    """

    bias: torch.Tensor | None = None
    keys: torch.Tensor | None = None
    queries: torch.Tensor | None = None


class Absolute:
    """They do nothing: they were added to the embeddings.

    scaling     what scores are multiplied by
    """

    def __init__(self, base: Any, parts: Parts) -> None:
        self.scaling = (base.config.hidden_size // base.config.num_attention_heads) ** -0.5
        self._all = [NO_POSITIONS] * len(parts.layers)

    def for_texts(self, longest: int) -> list[Positions]:  # noqa: ARG002
        """For each layer, for texts of up to so many tokens."""
        return self._all


class _Tabled(ABC):
    """Tables for positions and distances up to a power of two, made anew where that is not enough."""

    def __init__(self) -> None:
        self._longest = 0
        self._all: list[Positions] = []

    def for_texts(self, longest: int) -> list[Positions]:
        """For each layer, for texts of up to so many tokens."""
        if longest > self._longest:
            self._longest = max(_LONGEST, 1 << (longest - 1).bit_length())
            self._all = self._made(self._longest)
        return self._all

    @abstractmethod
    def _made(self, longest: int) -> list[Positions]:
        """For each layer, for texts of up to `longest` tokens."""


class Relative(_Tabled):
    """DeBERTa-v2's and v3's, and MPNet's: scores have a part that the distance makes.

    NotPackable for an encoder that does more than that.

    scaling     what scores are multiplied by, with what distances add to them
    """

    def __init__(self, base: Any, parts: Parts) -> None:
        super().__init__()
        look = _mpnet if hasattr(base.encoder, "relative_attention_bias") else _deberta
        self.scaling, self._buckets, self._tables = look(base, parts)
        self._device = base.device

    def _made(self, longest: int) -> list[Positions]:
        rows = self._buckets(torch.arange(1 - longest, longest + _BEYOND + 1))
        made = {id(tables): self._laid_out(tables, rows) for tables in self._tables}
        return [made[id(tables)] for tables in self._tables]

    def _laid_out(self, tables: _Tables, rows: torch.Tensor) -> Positions:
        """As the kernels read them."""
        positions = Positions(window=-1, distances=len(rows), nearest=self._longest - 1)
        kept = {}
        if tables.bias is not None:
            kept["bias"] = (tables.bias[:, rows] / self.scaling).contiguous()
        for name, table in (("keys", tables.keys), ("queries", tables.queries)):
            if table is None:
                continue
            heads, _, size = table.shape
            together = 4 // table.element_size()  # neighbours in depth that are multiplied together
            of_distances = table[:, rows].view(heads, len(rows), size // together, together)
            kept[name] = of_distances.transpose(1, 2).contiguous()
        for name, table in kept.items():
            setattr(positions, name, table.data_ptr())
        positions.kept = kept  # what it points to
        return positions


class ByBuckets(Relative):
    """The same as the kernel for GPUs reads it: tables as they are, and the bucket of each distance."""

    def _laid_out(self, tables: _Tables, rows: torch.Tensor) -> Positions:
        named = {"bias": tables.bias, "keys": tables.keys, "queries": tables.queries}
        some = {name: table.contiguous() for name, table in named.items() if table is not None}
        positions = Positions(window=-1, distances=len(rows), nearest=self._longest - 1)
        positions.kept = {**some, "rows": rows.to(self._device, torch.int32)}
        return positions


class Rotary(_Tabled):
    """ModernBERT's: queries and keys are turned by their position, and some layers see a window alone.

    ValueError for angles that depend on more than the position.
    """

    def __init__(self, base: Any, _: Parts) -> None:
        super().__init__()
        size = base.config.hidden_size // base.config.num_attention_heads
        if size % (2 * LANES) or set(base.rotary_emb.rope_type.values()) != {"default"}:
            raise ValueError("angles of another kind")
        self.scaling = size**-0.5
        self._angles_of = base.rotary_emb
        # a window of transformers' counts the token itself
        windows = [layer.attn.sliding_window for layer in base.layers]
        self._windows = [-1 if window is None else window - 1 for window in windows]
        self._kinds = base.config.layer_types

    def _made(self, longest: int) -> list[Positions]:
        kept = {kind: self._angles(longest, kind) for kind in set(self._kinds)}
        made = []
        for kind, window in zip(self._kinds, self._windows, strict=True):
            made.append(Positions(window=window, angles=kept[kind].data_ptr()))
            made[-1].kept = kept  # what it points to
        return made

    def _angles(self, longest: int, kind: str) -> torch.Tensor:
        """Cosines of each position, then sines, [longest, size]."""
        parts = self._angles_of(torch.empty(0), torch.arange(longest)[None], kind)
        return torch.cat([part[0].chunk(2, dim=-1)[0] for part in parts], dim=-1).contiguous()


def knows_distances(base: Any) -> bool:
    """Whether a model's attention does."""
    return base.config.model_type in ("deberta-v2", "mpnet")


def sees_windows(base: Any) -> bool:
    """Whether some layers of a model see the neighbours of a token alone."""
    return getattr(base.config, "sliding_window", None) is not None


def _mpnet(base: Any, parts: Parts) -> tuple[float, Buckets, list[_Tables]]:
    encoder = base.encoder
    size = base.config.hidden_size // base.config.num_attention_heads
    tables = _Tables(bias=encoder.relative_attention_bias.weight.detach().t().float())
    return size**-0.5, encoder.relative_position_bucket, [tables] * len(parts.layers)


def _deberta(base: Any, _: Parts) -> tuple[float, Buckets, list[_Tables]]:
    encoder = base.encoder
    attention = [layer.attention.self for layer in encoder.layer]
    first = attention[0]
    if encoder.conv is not None:
        raise NotPackable("it convolves tokens with their neighbours")
    if not encoder.relative_attention:
        raise NotPackable("it has DeBERTa's attention without its distances")
    if first.attention_head_size % 2:
        raise NotPackable("its heads are of an odd size")
    span = first.pos_ebd_size

    def buckets(distances: torch.Tensor) -> torch.Tensor:
        before = -distances
        if first.position_buckets > 0:
            before = deberta.make_log_bucket_position(
                before, first.position_buckets, first.max_relative_positions
            ).long()
        rows: torch.Tensor = (before + span).clamp(0, 2 * span - 1)
        return rows

    embeddings = encoder.get_rel_embedding()[: 2 * span]

    def heads_of(product: Any) -> torch.Tensor:
        found: torch.Tensor = product(embeddings).detach()
        return found.view(len(embeddings), first.num_attention_heads, -1).transpose(0, 1)

    terms = {"c2p", "p2c"} & set(first.pos_att_type)
    tables = []
    for each in attention:
        shared = each.share_att_key
        keys = each.key_proj if shared else getattr(each, "pos_key_proj", None)
        queries = each.query_proj if shared else getattr(each, "pos_query_proj", None)
        tables.append(
            _Tables(
                keys=heads_of(keys) if "c2p" in terms else None,
                queries=heads_of(queries) if "p2c" in terms else None,
            )
        )
    return (first.attention_head_size * (1 + len(terms))) ** -0.5, buckets, tables

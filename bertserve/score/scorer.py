"""Tables of texts become tables of probabilities, by an archive's own handler, without a server.

    with Scorer("model_store/support-2.0.mar", column="body") as scorer:
        scored = scorer(table)                       # a pyarrow Table

    scorer.batches(record_batches)                   # for Spark: frame.mapInArrow(scorer.batches, …)
    dataset.map_batches(Scorer, fn_constructor_args=[archive], batch_format="pyarrow", concurrency=4)

A Scorer is its archive and its options: it can be sent to other processes, and loads the model in each of
them when it is first called there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..archives import inspect, unpacked
from ..clients import PAIR_COLUMN
from ..errors import ConfigError
from .columns import Problems, Shape, as_text, results
from .engine import TEXTS
from .processes import USUAL, Options, Processes

ROWS = 100_000  # of a block, which is sorted by length as a whole
_BYTES = 1 << 25  # of a block's texts


class Scorer:
    """Scores tables by an archive; what a table has beside its texts is kept.

    column        of the texts
    pair_column   of second texts; `text_pair`, if there is such a column, where it is None
    keep          columns that are kept; all, where it is None
    wide          a column for each label in place of the list `probabilities`
    options       how texts are read, and by what

    ConfigError where a table lacks a column, PackageError where the archive does not load.
    """

    def __init__(
        self,
        archive: str | Path,
        column: str = "text",
        pair_column: str | None = None,
        *,
        keep: Sequence[str] | None = None,
        wide: bool = False,
        options: Options = USUAL,
    ) -> None:
        self.archive = Path(archive)
        self.column = column
        self.pair_column = pair_column
        self.keep = keep
        self.options = options
        self.shape = Shape.of(inspect(self.archive), wide=wide)
        self._running = ExitStack()
        self._processes: Processes | None = None
        self._ended = False

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_running": None, "_processes": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _running=ExitStack())

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with what the model says of its rows, in their order."""
        (scored,) = self.scored([table])
        return scored

    def batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same of record batches, some of which are scored ahead."""
        for table in self.scored(pa.Table.from_batches([batch]) for batch in batches):
            yield from table.to_batches()

    def schema(self, columns: pa.Schema) -> pa.Schema:
        """That of a scored table, for one with such columns."""
        table = columns.empty_table()
        kept = table.column_names if self.keep is None else self.keep
        return results(table, [], {}, self.shape, None, kept).schema.remove_metadata()

    def scored(self, tables: Iterable[pa.Table | tuple[pa.Table, Problems]]) -> Iterator[pa.Table]:
        """What `__call__` gives for each of many tables, while the next ones are read and tokenized.

        A table may come with what is known to be wrong with rows of it.
        """
        waiting: deque[tuple[pa.Table, Problems, int]] = deque()

        def blocks() -> Iterator[pa.RecordBatch]:
            for each in tables:
                table, known = (each, {}) if isinstance(each, pa.Table) else each
                texts, problems = self._texts(table, known)
                some = list(_blocks(texts))
                waiting.append((table, problems, len(some)))
                yield from some

        parts: list[pa.RecordBatch] = []
        try:
            processes = self.start()
            precision = processes.description["precision"]
            for answers in chain(processes.answers(blocks()), [None]):
                parts += [answers] if answers is not None else []
                while waiting and len(parts) >= waiting[0][2]:
                    table, problems, count = waiting.popleft()
                    some, parts = parts[:count], parts[count:]
                    kept = table.column_names if self.keep is None else self.keep
                    yield results(table, some, problems, self.shape, precision, kept)
        except BaseException:
            self.close()  # what is on its way is nobody's any more
            raise

    def with_options(self, options: Options, archive: Path | None = None) -> Scorer:
        """Another one of the same archive, or of a copy of it, which computes with something else."""
        found = copy(self)
        found.__setstate__(self.__getstate__())
        found.options, found.archive = options, archive or self.archive
        return found

    def start(self) -> Processes:
        """Load the model, if it is not loaded yet."""
        if self._ended:
            raise RuntimeError("it was ended")
        if self._processes is None:
            root = self._running.enter_context(unpacked(self.archive, "score"))
            self._processes = self._running.enter_context(Processes(root, self.options))
        return self._processes

    def end(self) -> None:
        """End its processes, in the middle of what they do, for good."""
        self._ended = True
        self.close()

    def close(self) -> None:
        """End its processes; it loads the model again if it is called again."""
        self._processes = None
        self._running.close()

    def _texts(self, table: pa.Table, known: Problems) -> tuple[pa.Table, Problems]:
        """Its texts as they are sent, without those of rows with problems, and all problems."""
        names = table.column_names
        pair = self.pair_column or (PAIR_COLUMN if PAIR_COLUMN in names else None)
        if pair == self.column:
            pair = None
        for wanted in filter(None, (self.column, pair)):
            if wanted not in names:
                raise ConfigError(
                    f"the table has no column {wanted}, only {', '.join(names) or 'none at all'}"
                )
        texts, problems = as_text(table[self.column], self.column)
        seconds: Any = pa.nulls(len(table), pa.large_string())
        if pair is not None:
            seconds, of_pairs = as_text(table[pair], pair)
            problems = {**of_pairs, **problems}
        problems = {**problems, **known}
        if problems:
            left = np.ones(len(table), dtype=bool)
            left[list(problems)] = False
            texts = pc.if_else(pa.array(left), texts, None)
        return pa.table([texts, seconds], schema=TEXTS), problems


def _blocks(texts: pa.Table) -> Iterator[pa.RecordBatch]:
    """Blocks of neither too many rows nor too many bytes."""
    lengths = pc.fill_null(pc.binary_length(texts["text"]), 0)
    seconds = pc.fill_null(pc.binary_length(texts["text_pair"]), 0)
    sizes = pc.cumulative_sum(pc.add(lengths, seconds).cast(pa.int64())).to_numpy()
    start = 0
    while start < len(texts):
        before = sizes[start - 1] if start else 0
        end = int(sizes.searchsorted(before + _BYTES, side="right"))
        end = min(max(end, start + 1), start + ROWS, len(texts))
        yield texts.slice(start, end - start).combine_chunks().to_batches()[0]
        start = end

"""A job: what is scored, by what, and where its results go. It can be run again, and by many at once.

    job = Job.begin("support-2.0.mar", "tickets/*.parquet", "scored/", Columns("body", keep=("id",)))
    for outcome in run_here(job, workers=2): ...
    job.summary()

A part is done when its file is there. So what runs again does the parts that are missing and no
other, and shards need nothing of each other.
"""

from __future__ import annotations

import base64
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import ConfigError
from .files import RECORD, Folder, ending, write_table
from .lines import TEXT, Columns, Unreadable
from .parts import Part, Source, find_parts, read_part
from .processes import USUAL, Died, Options
from .scorer import ROWS, Scorer
from .summary import Summary

_FEWEST, _PARTS = 4_096, 64  # rows of a part, parts of a job that has that few rows
_LOOKED_AT = 100  # files, for types of columns that are empty in the first ones
_TRIES = 3  # of a part at which the process died


@dataclass(frozen=True)
class Done:
    """A part that was scored and what its rows came to, or why it was not."""

    part: Part
    summary: Summary = field(default_factory=Summary)
    problem: str | None = None


@dataclass
class Job:
    """`parts` are those of all files, in order, and `unreadable` says why there are no more."""

    scorer: Scorer
    source: Source
    folder: Folder
    columns: Columns
    form: str
    parts: list[Part]
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        archive: Path,
        data: str,
        to: str,
        columns: Columns = TEXT,
        *,
        form: str = "parquet",
        wide: bool = False,
        options: Options = USUAL,
    ) -> Job:
        """Look what there is to do; ConfigError where the folder has results of another job."""
        ending(form)
        scorer = Scorer(
            archive,
            columns.text,
            columns.pair,
            keep=columns.keep,
            wide=wide or form == "csv",
            options=options,
        )
        source = Source.of(data, besides=to)
        folder = Folder.at(to)
        record = folder.read_aside(RECORD)
        job = cls(scorer, source, folder, columns, form, [])
        asked = job._asked()
        if record is None:
            job._find(ROWS)
            rows = min(ROWS, max(_FEWEST, -(-sum(each.rows for each in job.parts) // _PARTS)))
            if rows < ROWS:
                job._find(rows)
            job.columns = _typed(job)
            mine = {**asked, "rows": rows, "kept": _written(job.columns.types)}
            record = folder.begin(mine)
        if record is not None:  # somebody began it
            _check_same(asked, record, to)
            job.columns = replace(columns, types=_read(record["kept"]))
            job._find(record["rows"])
        job._check_unchanged()
        return job

    def _asked(self) -> dict[str, Any]:
        """What makes results what they are."""
        source = self.scorer.shape.source
        return {
            "the folder of the data": self.source.folder,
            "archive": f"{source['name']} {source['version']}",
            "archive's SHA-256": source["archive"],
            "--column": self.columns.text,
            "--pair-column": self.columns.pair,
            "--keep": list(self.columns.keep),
            "--output": self.form,
            "--wide": self.scorer.shape.wide,
            "--max-length": self.scorer.options.max_length,
            "--long-text": self.scorer.options.long_text,
            "--uncalibrated": not self.scorer.options.calibrated,
        }

    def _find(self, rows: int) -> None:
        """Find the parts of all files."""
        self.parts = []
        self.unreadable = []
        for found in find_parts(self.source, self.columns, rows):
            if isinstance(found, Unreadable):
                self.unreadable.append(str(found))
            else:
                self.parts += found
        if not self.parts:
            raise ConfigError(
                self.unreadable[0] if self.unreadable else "there are no rows in any file to score"
            )

    def _check_unchanged(self) -> None:
        """ConfigError where a file is not the one that results are of."""
        files = {part.name: part.file for part in self.parts}
        for name in self.folder.names():
            of, _, rest = name.removesuffix(ending(self.form)).rpartition(".")
            file = of.rpartition(".")[0]
            if file in files and rest != files[file]:
                raise ConfigError(
                    f"{file} is no more what it was when its rows were scored: delete {file}.* in "
                    f"{self.folder.path}, or choose another folder for the results"
                )

    def name_of(self, part: Part) -> str:
        """The file of a part's results."""
        return part.full_name + ending(self.form)

    def missing(self, shard: tuple[int, int] = (1, 1)) -> list[Part]:
        """The parts that are not done, of every n-th, as the i-th of n shards."""
        there = self.folder.names()
        mine = self.parts[shard[0] - 1 :: shard[1]]
        return [part for part in mine if self.name_of(part) not in there]

    def score(self, scorer: Scorer, parts: Iterable[Part]) -> Iterator[Done]:
        """Score parts and write their results; the next ones are read ahead.

        A part is tried again if the process that computes died at it, but not for ever.
        """
        left = iter(parts)
        begun: deque[Part] = deque()
        unreadable: deque[Done] = deque()
        deaths: Counter[Part] = Counter()
        while True:
            again = list(begun)
            begun.clear()
            try:
                yield from self._scored(scorer, chain(again, left), begun, unreadable)
                return
            except Died as error:
                if begun:
                    deaths[begun[0]] += 1  # the one that it was at
                if begun and deaths[begun[0]] >= _TRIES:
                    yield Done(begun.popleft(), problem=str(error))

    def _scored(
        self,
        scorer: Scorer,
        parts: Iterable[Part],
        begun: deque[Part],
        unreadable: deque[Done],
    ) -> Iterator[Done]:
        def tables() -> Iterator[Any]:
            for part in parts:
                begun.append(part)
                try:
                    yield read_part(self.source.system, part, self.columns)
                except Unreadable as error:
                    begun.remove(part)
                    unreadable.append(Done(part, problem=str(error)))

        for table in scorer.scored(tables()):
            part = begun[0]
            summary = Summary.of(table, independent=scorer.shape.independent)
            self.folder.write_aside(part.full_name, summary.as_json())
            self.folder.write(self.name_of(part), partial(write_table, table=table, form=self.form))
            begun.popleft()
            yield Done(part, summary)
        while unreadable:
            yield unreadable.popleft()

    def summary(self) -> Summary:
        """What all parts that are done came to."""
        total, there = Summary(), self.folder.names()
        for part in self.parts:
            if self.name_of(part) in there:
                found = self.folder.read_aside(part.full_name)
                total.add(Summary.read(found))
        return total


def _typed(job: Job) -> Columns:
    """The columns with the types of what is kept, from the first file that tells the type of each."""
    problem: Exception | None = None
    found: Columns | None = None
    first = {part.path: part for part in reversed(job.parts)}
    for part in [*reversed(first.values())][:_LOOKED_AT]:
        try:
            table, _ = read_part(job.source.system, part, job.columns)
        except Unreadable as error:
            problem = problem or error
        else:
            found = (found or job.columns).typed(table)
            if not any(pa.types.is_null(each) for each in (found.types or pa.schema([])).types):
                break
    if found is None:
        raise ConfigError(str(problem))
    return found


def _check_same(asked: dict[str, Any], record: dict[str, Any], to: str) -> None:
    for name, value in asked.items():
        if record.get(name) != value:
            raise ConfigError(
                f"{to} has results of another job: {name} was {_shown(record.get(name))} and is "
                f"{_shown(value)}; choose another folder with --to, or delete that one"
            )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value) or "nothing"
    return "not given" if value is None else str(value)


def _written(schema: pa.Schema | None) -> str:
    assert schema is not None
    return base64.b64encode(schema.remove_metadata().serialize().to_pybytes()).decode()


def _read(written: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(written)))

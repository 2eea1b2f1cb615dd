"""The columns of a scored table: what was kept, and what the model says of each row.

label          the decision: None where no label reaches the archive's threshold
probability    of that label, or of the most probable one
labels         those that reach their thresholds, where labels are independent
set            the prediction set, where the archive has them
probabilities  [labels], in the order of the model's; or, in a wide table, a column a label
truncated      whether the model read only a part
error          {code, message} of a row that cannot be classified; then all others are None
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..clients import kept_names
from ..errors import ConfigError

METADATA = b"bertserve"  # key in the metadata of a schema
Problems = Mapping[int, tuple[str, str]]  # row → code and message
_ERROR = pa.struct([("code", pa.string()), ("message", pa.string())])
_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


@dataclass(frozen=True)
class Shape:
    """What an archive answers, and where answers are from, as the metadata of a table tells.

    `calibrated_on` is what it said of the texts that it was calibrated on, None where that is not known.
    """

    labels: list[str]
    independent: bool
    sets: bool
    wide: bool
    source: dict[str, Any]
    calibrated_on: dict[str, Any] | None

    @classmethod
    def of(cls, inspected: Mapping[str, Any], *, wide: bool) -> Shape:
        """That of an archive, see `inspect`."""
        calibration = inspected["calibration"]
        return cls(
            inspected["labels"],
            inspected["activation"] == "sigmoid",
            calibration.get("sets") is not None,
            wide,
            {
                "archive": inspected["sha256"],
                "name": inspected["name"],
                "version": inspected["version"],
                "labels": inspected["labels"],
                "calibration": {k: v for k, v in calibration.items() if k != "provenance"},
                "bertserve": version("bertserve"),
            },
            calibration.get("provenance", {}).get("predicted"),
        )

    @property
    def fields(self) -> list[pa.Field]:
        """What is beside the columns that were kept, in order."""
        found = [pa.field("label", pa.string()), pa.field("probability", pa.float32())]
        if self.independent:
            found.append(pa.field("labels", pa.list_(pa.string())))
        if self.sets:
            found.append(pa.field("set", pa.list_(pa.string())))
        if self.wide:
            found += [pa.field(name, pa.float32()) for name in self.label_columns]
        else:
            found.append(pa.field("probabilities", pa.list_(pa.float32())))
        return [*found, pa.field("truncated", pa.bool_()), pa.field("error", _ERROR)]

    @property
    def label_columns(self) -> list[str]:
        """The column of each label in a wide table; one that is called as another of ours is renamed."""
        ours = {"label", "probability", "labels", "set", "truncated", "error"}
        return [f"probability_{label}" if label in ours else label for label in self.labels]


def holds_texts(kind: pa.DataType) -> bool:
    """Whether a column of a type holds texts; one that is empty may."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_one(kind) for is_one in (*_TEXTS, pa.types.is_string_view, pa.types.is_null))


def as_text(
    column: pa.ChunkedArray, name: str
) -> tuple[pa.ChunkedArray, dict[int, tuple[str, str]]]:
    """A column as large strings, and the rows that are none; ConfigError where its type holds no text."""
    kind = column.type
    if not holds_texts(kind):
        raise ConfigError(f"column {name} holds {kind}; choose one that holds texts")
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_string_view(kind) or pa.types.is_null(kind):
        column = column.cast(pa.large_string())
    try:
        column.validate(full=True)
        found = column.cast(pa.large_string())
    except pa.ArrowInvalid:  # bytes that are not UTF-8
        found, problems = _decoded(column, name)
    else:
        problems = {}
    for row in pc.indices_nonzero(found.is_null()).to_pylist():
        problems.setdefault(row, ("missing_text", f"there is no text in {name}"))
    return found, problems


def _decoded(
    column: pa.ChunkedArray, name: str
) -> tuple[pa.ChunkedArray, dict[int, tuple[str, str]]]:
    texts: list[str | None] = []
    problems = {}
    for row, content in enumerate(_contents(column)):
        try:
            texts.append(None if content is None else content.decode())
        except UnicodeDecodeError:
            texts.append(None)
            problems[row] = ("invalid_utf8", f"the text in {name} is not UTF-8; convert it")
    return pa.chunked_array([texts], pa.large_string()), problems


def _contents(column: pa.ChunkedArray) -> Iterator[bytes | None]:
    """The bytes of strings that may not be UTF-8."""
    is_large = column.type in (pa.large_string(), pa.large_binary())
    binary = pa.large_binary() if is_large else pa.binary()
    for chunk in column.chunks:
        yield from chunk.view(binary).to_pylist()


def replaced(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings with U+FFFD in the place of what is not UTF-8."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        texts = [each and each.decode(errors="replace") for each in _contents(column)]
        return pa.chunked_array([pa.array(texts, column.type)], column.type)
    return column


def results(
    table: pa.Table,
    answers: Sequence[pa.RecordBatch],
    problems: Problems,
    shape: Shape,
    precision: str | None,
    kept: Sequence[str],
) -> pa.Table:
    """A scored table: columns of a table that are kept, and what was answered of its rows."""
    rows = len(table)
    found = {
        name: pa.chunked_array([each[name] for each in answers], answers[0].schema.field(name).type)
        if answers
        else pa.nulls(rows, pa.null())
        for name in ("label", "labels", "set", "truncated", "probability", "probabilities")
    }
    found["error"] = _errors(answers, problems)
    if shape.wide:
        lists = found.pop("probabilities")
        for number, name in enumerate(shape.label_columns):
            found[name] = pc.list_element(lists, number) if answers else lists
    columns = [found[field.name].cast(field.type) for field in shape.fields]
    names = kept_names(kept, [field.name for field in shape.fields])
    fields = [
        table.schema.field(name).with_name(shown).remove_metadata() for name, shown in names.items()
    ]
    source = json.dumps({**shape.source, "precision": precision}, sort_keys=True).encode()
    schema = pa.schema([*fields, *shape.fields], metadata={METADATA: source})
    return pa.table([*(table[name] for name in names), *columns], schema=schema)


def _errors(answers: Sequence[pa.RecordBatch], problems: Problems) -> pa.Array:
    """Why rows cannot be classified: what was known before goes before what the model says."""
    codes = [code for each in answers for code in each["code"].to_pylist()]
    messages = [said for each in answers for said in each["message"].to_pylist()]
    for row, (code, message) in problems.items():
        codes[row], messages[row] = code, message
    known = pa.array([code is None for code in codes], pa.bool_())
    return pa.StructArray.from_arrays(
        [pa.array(codes, pa.string()), pa.array(messages, pa.string())],
        fields=list(_ERROR),
        mask=known,
    )

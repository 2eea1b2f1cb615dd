"""Results to files: one at a time, however many there are.

    write_csv(((row, result), …), sys.stdout, labels)

A row begins with the columns that were kept of the input. A kept column that is called as one of ours
gets `input_` before its name, so that both can be told apart: a file's own `label`, say.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from ..errors import TextError
from .files import Row
from .results import Prediction

# what details add to a row
_DETAILS = (
    "labels", "set", "set_coverage", "margin", "entropy", "calibrated", "logits", "tokens", "truncated",
    "chunks", "model", "version",
)  # fmt: skip
_FIRST, _DECIDED = ("text", "text_pair"), ("label", "probability")
_OURS = (*_FIRST, *_DECIDED, "probabilities", *_DETAILS, "error")
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # as OWASP lists what begins one
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")

Result = Prediction | TextError
Results = Iterable[tuple[Row, Result]]


def write_json(results: Results, out: TextIO) -> None:
    """One list of objects."""
    opened = False
    try:
        for row, result in results:
            out.write((",\n" if opened else "[\n") + _indented(as_row(row, result)))
            opened = True
    finally:  # also where the rest cannot be had: what there is can be read
        if opened:
            out.write("\n]\n")
    if not opened:
        out.write("[]\n")


def write_jsonl(results: Results, out: TextIO) -> None:
    """An object a line."""
    for row, result in results:
        out.write(json.dumps(as_row(row, result), ensure_ascii=False) + "\n")


def write_csv(
    results: Results,
    out: TextIO,
    labels: Sequence[str],
    keep: Sequence[str] = (),
    *,
    delimiter: str = ",",
    escape_formulas: bool = False,
) -> None:
    """A line a text, always with the same columns, one for the probability of each label.

    Labels that are not answered (`top_k`) have empty cells; maps, lists and errors are JSON in theirs. A
    label that is called as one of our columns gets `probability_` before its name.
    escape_formulas   puts ' before what a spreadsheet would run, as OWASP advises
    """
    fixed = {name for name in _OURS if name != "probabilities"}
    of_labels = {label: f"probability_{label}" if label in fixed else label for label in labels}
    of_kept = kept_names(keep, [*fixed, *of_labels.values()])
    columns = [*of_kept.values(), *_FIRST, *_DECIDED, *of_labels.values(), *_DETAILS, "error"]
    writer = csv.writer(out, delimiter=delimiter)

    def write(cells: Iterable[Any]) -> None:
        texts = map(_cell, cells)
        writer.writerow([_harmless(text) for text in texts] if escape_formulas else texts)

    write(columns)
    for row, result in results:
        values = _values(row, result)
        probabilities = values.pop("probabilities", {})
        values |= {column: probabilities.get(label) for label, column in of_labels.items()}
        values |= {column: row.kept.get(name) for name, column in of_kept.items()}
        write(values.get(column) for column in columns)


def as_row(row: Row, result: Result) -> dict[str, Any]:
    """A text and its result as an object."""
    names = kept_names(list(row.kept), _OURS)
    return {**{names[key]: value for key, value in row.kept.items()}, **_values(row, result)}


def kept_names(keep: Sequence[str], ours: Iterable[str]) -> dict[str, str]:
    """What kept columns are called beside ours."""
    taken, found = set(ours), {}
    for each in keep:
        name = each
        while name in taken:
            name = f"input_{name}"
        taken.add(name)
        found[each] = name
    return found


def _values(row: Row, result: Result) -> dict[str, Any]:
    if isinstance(result, TextError):
        error = {"code": result.code, "message": result.message, **result.fields}
        return {**row.shown, "error": error}
    values = {
        **row.shown,
        "label": result.label,
        "probability": result.probability,
        "probabilities": dict(result.probabilities),
    }
    if result.logits is not None:
        found = ((name, getattr(result, name)) for name in _DETAILS)
        values |= {name: value for name, value in found if value is not None}
    return values


def _indented(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False, indent=2)
    return "\n".join(f"  {line}" for line in text.splitlines())


def _cell(value: Any) -> Any:
    is_json = isinstance(value, dict | list | tuple)
    return json.dumps(value, ensure_ascii=False) if is_json else value


def _harmless(cell: Any) -> Any:
    """A cell that no spreadsheet runs; numbers stay numbers."""
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell

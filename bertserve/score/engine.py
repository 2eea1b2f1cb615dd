"""The processes of a Scorer, run as a program: engine.py tokenize FOLDER | classify FOLDER OPTIONS

FOLDER is an archive's, PYTHONPATH too, so that the code that serves is the code that scores, and OPTIONS
is an object of JSON. Blocks of texts come and go as Arrow streams: a process that tokenizes reads texts
from its standard input and writes token ids; the one that classifies reads those of all that tokenize in
turn, and writes what the model says. In the schema of its answers is the description of the model, or
{"error"}.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa

if TYPE_CHECKING:  # in the archive's processes there is no bertserve, and modules are the archive's
    from handler.errors import RequestError
    from handler.pipeline import Pipeline
    from handler.probabilities import Outputs
    from handler.settings import Settings
    from handler.values import Encoding, Text

TEXTS = pa.schema([("text", pa.large_string()), ("text_pair", pa.large_string())])
_PROBLEM = [("code", pa.string()), ("message", pa.string())]
# pieces of a text, more than one where it is classified in chunks
_IDS = pa.schema(
    [
        ("input_ids", pa.list_(pa.list_(pa.int32()))),
        ("token_type_ids", pa.list_(pa.list_(pa.int8()))),
        ("truncated", pa.bool_()),
        *_PROBLEM,
    ]
)
_ANSWERS = [
    ("label", pa.string()),
    ("labels", pa.list_(pa.string())),
    ("set", pa.list_(pa.string())),
    ("probability", pa.float32()),
    ("truncated", pa.bool_()),
    ("probabilities", pa.list_(pa.float32())),
    *_PROBLEM,
]
# keys of the metadata of schemas
READING = b"reading"
DESCRIPTION = b"description"
_NOBODY_WAITS = 1e9  # seconds


def tokenize(root: Path, source: BinaryIO, sink: BinaryIO) -> None:
    """Texts become token ids, block by block, until the source ends.

    Its schema says how: the options of texts, as the wire has them, and `longest`, what the model reads.
    The process is there before that is known, so that it loads while the model does.
    """
    from handler.errors import past_errors
    from handler.text import Tokenizer, load_tokenizer
    from handler.values import Encoding

    settings = read(root)
    loaded = load_tokenizer(root / "model")
    blocks = pa.ipc.open_stream(source)
    asked = json.loads(blocks.schema.metadata[READING])
    tokenizer = Tokenizer(
        loaded,
        asked.pop("longest"),
        settings.long_text,
        settings.stride,
        settings.pairs,
    )

    def encoded(block: pa.RecordBatch) -> pa.RecordBatch:
        texts = list(_texts(block, settings, asked))
        found = past_errors(tokenizer, texts)
        pieces = [(each, *each.further) if isinstance(each, Encoding) else None for each in found]
        return pa.record_batch(
            [
                [None if some is None else [each.input_ids for each in some] for some in pieces],
                [
                    None if some is None else [each.token_type_ids for each in some]
                    for some in pieces
                ],
                [getattr(each, "truncated", None) for each in found],
                *_problems(found),
            ],
            schema=_IDS,
        )

    with pa.ipc.new_stream(sink, _IDS) as writer:
        for block in blocks:
            writer.write_batch(encoded(block))
            sink.flush()


def classify(
    root: Path, asked: dict[str, Any], sources: Sequence[BinaryIO], sink: BinaryIO
) -> None:
    """Token ids become what the model says, a block of each source in turn, until one ends.

    `asked` are `threads`, None for the archive's own, `gpu`, None for the first if there is any, and
    `calibrated`.
    """
    import torch

    from handler.engine import choose_device
    from handler.pipeline import Pipeline

    settings = read(root)
    if asked["threads"]:
        settings = replace(settings, threads=asked["threads"])
    on_gpu = torch.cuda.is_available() and settings.precision != "int8"
    device = choose_device((asked["gpu"] or 0) if on_gpu else None)
    pipeline = Pipeline(root / "model", settings, device, time_limit=_NOBODY_WAITS)
    description = json.dumps(pipeline.describe()).encode()
    schema = pa.schema(_ANSWERS, metadata={DESCRIPTION: description})
    writer = _told(sink, schema)
    readers = [pa.ipc.open_stream(source) for source in sources]
    while True:
        for reader in readers:
            try:
                block = reader.read_next_batch()
            except StopIteration:
                return
            encodings, problems = _encodings(block, calibrated=asked["calibrated"])
            writer.write_batch(_answers(pipeline, encodings, problems, schema))
            sink.flush()


def _told(sink: BinaryIO, schema: pa.Schema) -> pa.ipc.RecordBatchStreamWriter:
    """A stream whose schema is on its way: that goes with a first block, one without rows."""
    writer = pa.ipc.new_stream(sink, schema)
    writer.write_batch(pa.RecordBatch.from_pylist([], schema))
    sink.flush()
    return writer


def read(root: Path) -> Settings:
    """The handler's settings in an archive's folder."""
    import yaml

    from handler.settings import read_settings

    found: Settings = read_settings(
        yaml.safe_load((root / "model-config.yaml").read_bytes()).get("handler")
    )
    return found


def _texts(
    block: pa.RecordBatch, settings: Settings, asked: dict[str, Any]
) -> Iterator[Text | RequestError]:
    """Texts as the wire reads them, checked as it checks them."""
    from handler.errors import RequestError
    from handler.wire import read_single

    for text, pair in zip(*(column.to_pylist() for column in block.columns), strict=True):
        try:
            yield read_single({"text": text, "text_pair": pair, **asked}, settings).texts[0]
        except RequestError as error:
            yield error


def _encodings(
    block: pa.RecordBatch, *, calibrated: bool
) -> tuple[list[Encoding], list[tuple[str, str] | None]]:
    """The encodings of the texts that have one, and the problem of each text."""
    from handler.values import Encoding

    columns = dict(zip(block.schema.names, block.columns, strict=True))
    ids, types = _nested(columns["input_ids"]), _nested(columns["token_type_ids"])
    codes, messages = columns["code"].to_pylist(), columns["message"].to_pylist()
    problems = [
        None if code is None else (code, said) for code, said in zip(codes, messages, strict=True)
    ]
    encodings = []
    for pieces, of_types, truncated, problem in zip(
        ids, types, columns["truncated"].to_pylist(), problems, strict=True
    ):
        if problem is None:
            first, *others = (
                Encoding(each, kinds, bool(truncated), calibrated=calibrated)
                for each, kinds in zip(pieces, of_types, strict=True)
            )
            encodings.append(replace(first, further=tuple(others)) if others else first)
    return encodings, problems


def _nested(column: pa.ListArray) -> list[list[list[int]]]:
    """The lists of lists of a column; far faster than to_pylist."""
    texts, pieces = column.offsets.to_pylist(), column.values.offsets.to_pylist()
    numbers = column.values.values.to_numpy().tolist()
    lists = [numbers[a:b] for a, b in pairwise(pieces)]
    return [lists[a:b] for a, b in pairwise(texts)]


def _answers(
    pipeline: Pipeline,
    encodings: list[Encoding],
    problems: list[tuple[str, str] | None],
    schema: pa.Schema,
) -> pa.RecordBatch:
    """What the model says of each text, nothing of those with a problem."""
    rows: list[dict[str, Any]] = []
    numbers = {label: number for number, label in enumerate(pipeline.labels)}
    for found, failed, some in _outputs(pipeline, encodings):
        if found is None:
            rows += [
                _problem_row("internal_error", "the model failed on this text; please report it")
            ]
            continue
        shares, highest = found.probabilities.numpy(), found.probabilities.amax(dim=1).tolist()
        for row, (decision, problem, encoding) in enumerate(
            zip(found.decisions, failed, some, strict=True)
        ):
            if problem is not None:
                rows.append(_problem_row(problem.code, problem.message))
                continue
            rows.append(
                {
                    "label": decision.label,
                    "labels": decision.labels,
                    "set": decision.chosen,
                    "probability": highest[row]
                    if decision.label is None
                    else shares[row][numbers[decision.label]],
                    "truncated": encoding.truncated,
                    "probabilities": shares[row],
                }
            )
    answered = iter(rows)
    placed = [next(answered) if each is None else _problem_row(*each) for each in problems]
    return pa.record_batch(
        [pa.array([each.get(field.name) for each in placed], field.type) for field in schema],
        schema=schema,
    )


def _outputs(
    pipeline: Pipeline, encodings: list[Encoding]
) -> Iterator[tuple[Outputs | None, list[RequestError | None], list[Encoding]]]:
    """What the model says of texts together; if that fails of each half: one cannot fail the others."""
    import torch

    if not encodings:
        return
    try:
        yield (*pipeline.outputs(encodings), encodings)
    except (MemoryError, torch.AcceleratorError):  # no text's fault
        raise
    except Exception:
        if len(encodings) == 1:
            yield None, [], encodings
            return
        half = len(encodings) // 2
        yield from _outputs(pipeline, encodings[:half])
        yield from _outputs(pipeline, encodings[half:])


def _problem_row(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _problems(found: Sequence[Any]) -> tuple[list[str | None], list[str | None]]:
    return (
        [each.code if _is_error(each) else None for each in found],
        [each.message if _is_error(each) else None for each in found],
    )


def _is_error(value: object) -> bool:
    return isinstance(value, Exception)


def main() -> None:
    """Do the one or the other; whatever keeps a model from loading is told in the schema."""
    kind, root, *options = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    if kind == "tokenize":
        tokenize(root, sys.stdin.buffer, sink)
        return
    asked = json.loads(options[0])
    sources = [os.fdopen(number, "rb") for number in asked["sources"]]
    try:
        classify(root, asked, sources, sink)
    except RuntimeError as error:
        told = json.dumps({"error": " ".join(str(error).split())}).encode()
        _told(sink, pa.schema(_ANSWERS, metadata={DESCRIPTION: told}))


if __name__ == "__main__":
    # this file's own folder must not shadow the archive's modules
    sys.path = [entry for entry in sys.path if entry != str(Path(__file__).resolve().parent)]
    main()

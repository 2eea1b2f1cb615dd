"""Archives that somebody made to break what reads them, byte by byte: no library writes such zips."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_UTF8, _STREAMED = 0x800, 0x8
_DATE = 0x21  # the first of January 1980
_DEFLATED = 8

Files = dict[str, bytes]
Tamper = Callable[[Files], None]


@dataclass(frozen=True)
class Entry:
    """A file of a zip; `local` and `central` are what its two headers say otherwise."""

    name: bytes
    content: bytes
    method: int = 0
    flags: int = _UTF8
    mode: int = 0o100644
    gap: bytes = b""  # before it
    tail: bytes = b""  # behind what is packed, and said to be a part of it
    local: Mapping[str, Any] = field(default_factory=dict)
    central: Mapping[str, Any] = field(default_factory=dict)

    @property
    def packed(self) -> bytes:
        if self.method != _DEFLATED:
            return self.content + self.tail
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(self.content) + packer.flush() + self.tail

    def header(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": self.name, "method": self.method, "flags": self.flags, "extra": b"",
            "crc": zlib.crc32(self.content), "packed": len(self.packed), "size": len(self.content),
            **changes,
        }  # fmt: skip


def zip_of(
    entries: list[Entry],
    *,
    before: bytes = b"",
    hidden: bytes = b"",
    behind: bytes = b"",
    **end: int,
) -> bytes:
    """A zip; `before` all of it, `hidden` before its directory, `behind` it, `end` what its end says."""
    out, directory = bytearray(before), bytearray()
    for each in entries:
        out += each.gap
        offset = len(out)
        has = each.header(each.local)
        out += _LOCAL.pack(
            b"PK\3\4", 20, has["flags"], has["method"], 0, _DATE, has["crc"], has["packed"],
            has["size"], len(has["name"]), len(has["extra"]),
        ) + has["name"] + has["extra"] + each.packed  # fmt: skip
        has = each.header(each.central)
        directory += _CENTRAL.pack(
            b"PK\1\2", 0x314, 20, has["flags"], has["method"], 0, _DATE, has["crc"], has["packed"],
            has["size"], len(has["name"]), len(has["extra"]), 0, 0, 0, each.mode << 16,
            has.get("offset", offset),
        ) + has["name"] + has["extra"]  # fmt: skip
    out += hidden
    start = len(out)
    count = end.get("count", len(entries))
    out += directory + _END.pack(
        b"PK\5\6", 0, 0, count, count, end.get("length", len(directory)), end.get("start", start), 0
    )
    return bytes(out + behind)


def good_files() -> Files:
    """What `inspect` reads of an archive; its weights and its handler are stand-ins."""
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    config["id2label"] = {"0": "good", "1": "bad"}  # type: ignore[assignment]
    served = "minWorkers: 1\nbatchSize: 8\nmaxBatchDelay: 2\nhandler: {precision: float32}\n"
    manifest = {
        "model": {"modelName": "support", "modelVersion": "1.0", "handler": "bert_handler.py"}
    }
    measured = {
        "precision": "float32", "texts": 1, "sample": "own", "failed": 0, "labels_changed": 0.0,
        "largest_shift": 0.0, "mean_shift": 0.0,
    }  # fmt: skip
    return {
        "MAR-INF/MANIFEST.json": json.dumps(manifest).encode(),
        "bert_handler.py": b"def handle(rows, context): ...\n",
        "golden.json": json.dumps([["good film", {"good": 0.5, "bad": 0.5}]]).encode(),
        "handler/__init__.py": b"",
        "model-config.yaml": served.encode(),
        "model/config.json": json.dumps(config).encode(),
        "model/model.safetensors": bytes(64),
        "precision.json": json.dumps(measured).encode(),
    }


def listed(files: Files) -> Files:
    """The files, with the checksums of all."""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return {**files, "SHA256SUMS": "".join(lines).encode()}


def entries_of(files: Files) -> list[Entry]:
    return [Entry(name.encode("utf-8", "surrogateescape"), files[name]) for name in sorted(files)]


def good() -> bytes:
    """An archive that nobody has touched."""
    return zip_of(entries_of(listed(good_files())))


def with_entry(entry: Entry, **more: Any) -> bytes:
    """A good archive, and one more file, which its checksums know, so that only its own fault counts."""
    files = good_files()
    whole = entries_of(listed({**files, entry.name.decode("utf-8", "replace"): entry.content}))
    own = {name.encode() for name in (*files, "SHA256SUMS")}
    return zip_of([*(each for each in whole if each.name in own), entry], **more)


def changed(name: bytes, **changes: Any) -> bytes:
    """A good archive in which one of the files is another entry."""
    entries = entries_of(listed(good_files()))
    return zip_of([replace(each, **changes) if each.name == name else each for each in entries])


_BAD_NAMES = {
    "a path that leads out": b"../evil.py",
    "a path that leads out below a folder": b"handler/../../evil.py",
    "a path with a dot": b"handler/./evil.py",
    "an absolute path": b"/tmp/bertserve-evil.py",
    "an empty part of a path": b"handler//evil.py",
    "backslashes": b"..\\evil.py",
    "a drive letter": b"C:evil.py",
    "a drive letter and a slash": b"c:/evil.py",
    "a share": b"\\\\host\\share\\evil.py",
    "a NUL": b"evil.py\0.txt",
    "a line feed": b"evil\n.py",
    "an escape sequence": b"\x1b[2J\x1b]0;evil\x07.py",
    "a control of C1": "evil\x9b31m.py".encode(),
    "a turn of direction": "evil\u202eyp.py".encode(),
    "a space without width": "evil\u200b.py".encode(),
    "a name that is no UTF-8": b"evil\xff.py",
    "no name": b"",
    "a name of a slash": b"/",
    "a name that is too long": b"a" * 300,
    "a path that is too long": b"/".join([b"a" * 100] * 12),
}


def _links() -> Iterator[tuple[str, bytes]]:
    for what, mode in {
        "a link": 0o120777, "a device": 0o020666, "a disk": 0o060666, "a pipe": 0o010666,
        "a socket": 0o140777,
    }.items():  # fmt: skip
        yield what, with_entry(Entry(b"evil", b"/etc/passwd", mode=mode))


def _containers() -> Iterator[tuple[str, bytes]]:
    """What no zip of a model is: nothing in it is to be believed, by whoever reads it."""
    for what, name in _BAD_NAMES.items():
        yield what, with_entry(Entry(name, b"evil"))
    yield from _links()
    config = b"model/config.json"
    yield "a name of two encodings", with_entry(Entry("évil.py".encode(), b"", flags=0))
    yield "an encrypted file", changed(config, flags=_UTF8 | 1)
    yield "a file twice", with_entry(Entry(config, b"{}"))
    yield "a manifest twice", with_entry(Entry(b"MAR-INF/MANIFEST.json", b"{}"))
    yield "a file and a folder of one name", with_entry(Entry(config + b"/evil.py", b""))
    yield (
        "a file and a folder, the folder listed",
        with_entry(Entry(config + b"/", b"", mode=0o40755)),
    )
    bomb = Entry(b"model/zeros", bytes(1 << 20), _DEFLATED)
    yield (
        "a bomb",
        with_entry(replace(bomb, local={"size": 0xF0000000}, central={"size": 0xF0000000})),
    )
    yield "compression that nobody knows", changed(config, method=97)
    yield "compression that TorchServe lacks", changed(config, method=14)
    yield "another size in the local header", changed(config, local={"size": 1})
    yield "another packed size in the local header", changed(config, local={"packed": 1})
    yield "another name in the local header", changed(config, local={"name": b"model/confiG.json"})
    yield "another method in the local header", changed(config, local={"method": _DEFLATED})
    yield "other flags in the local header", changed(config, local={"flags": _UTF8 | _STREAMED})
    yield "another size in the directory", changed(config, central={"size": 1})
    hidden = zip_of([Entry(b"evil.py", b"import os")])[: _LOCAL.size + 7 + 9]
    yield "a file hidden before all", zip_of(entries_of(listed(good_files())), before=hidden)
    yield "a file hidden in between", changed(config, gap=hidden)
    yield "a file hidden behind", zip_of(entries_of(listed(good_files())), hidden=hidden)
    yield "files that overlap", changed(config, central={"offset": 0})
    yield "a file beyond the end", changed(config, central={"offset": 1 << 30})
    yield "a program before it", good_with(before=b"#!/bin/sh\nrm -r ~\n" + bytes(64))
    yield "cut in the middle", good()[: len(good()) // 2]
    yield "without its end", good()[:-22]
    yield "without its directory", good_with(start=1 << 20)
    yield "a directory that is longer", good_with(length=1 << 30)
    yield "fewer files than it has", good_with(count=1, length=60)
    yield (
        "zip64 without its numbers",
        changed(config, local={"size": 0xFFFFFFFF}, central={"size": 0xFFFFFFFF}),
    )
    huge = struct.pack("<HHQQ", 1, 16, 1 << 62, 1 << 62)
    large = {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": huge}
    yield "zip64 of exabytes", changed(config, local=large, central=large)
    cut = {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": struct.pack("<HH", 1, 99)}
    yield "zip64 that is cut", changed(config, local=cut, central=cut)
    yield "an empty file", b""
    yield (
        "a file hidden in a file",
        changed(config, method=_DEFLATED, flags=_UTF8 | _STREAMED, tail=bytes(16) + hidden),
    )
    yield (
        "sizes behind what is not packed",
        changed(config, flags=_UTF8 | _STREAMED, tail=bytes(16)),
    )
    yield "some bytes between files", changed(config, gap=bytes(8))
    yield "no zip", b"\x1f\x8b" + bytes(100)


def good_with(**more: Any) -> bytes:
    return zip_of(entries_of(listed(good_files())), **more)


def _manifests() -> Iterator[tuple[str, bytes]]:
    """Manifests that no model can be served under."""
    for what, model in {
        "no name": {"modelVersion": "1.0"},
        "no version": {"modelName": "support"},
        "a name of another type": {"modelName": 1, "modelVersion": "1.0"},
        "a version of another type": {"modelName": "support", "modelVersion": 1.0},
        "a name that leads out": {"modelName": "../evil", "modelVersion": "1.0"},
        "a version that leads out": {"modelName": "support", "modelVersion": "1/../../evil"},
        "two dots": {"modelName": "support", "modelVersion": "1..0"},
        "a name of TorchServe's list": {"modelName": "a,b=c", "modelVersion": "1.0"},
        "a name that clears a terminal": {"modelName": "\x1b[2Jsupport", "modelVersion": "1.0"},
        "a version in colours": {"modelName": "support", "modelVersion": "\x1b[31m1.0"},
        "a name turned round": {"modelName": "a\u202eb", "modelVersion": "1.0"},
        "a name with a line": {"modelName": "support\n", "modelVersion": "1.0"},
        "a name of blanks": {"modelName": "  ", "modelVersion": "1.0"},
        "an empty name": {"modelName": "", "modelVersion": "1.0"},
        "a name that is an option": {"modelName": "--models", "modelVersion": "1.0"},
        "a name that is too long": {"modelName": "a" * 200, "modelVersion": "1.0"},
        "an envelope": {"modelName": "support", "modelVersion": "1.0", "envelope": "body"},
    }.items():
        yield (
            f"a manifest with {what}",
            _with("MAR-INF/MANIFEST.json", json.dumps({"model": model})),
        )
    for what, text in {
        "a manifest that is a list": "[]",
        "a manifest of nothing": "{}",
        "a manifest whose model is a text": '{"model": "x"}',
        "a manifest that is no JSON": "{",
        "a manifest that is nested": "[" * 100_000,
        "a manifest with NaN": '{"model": NaN}',
        "a manifest with a number of many digits": '{"model": ' + "9" * 5000 + "}",
    }.items():
        yield what, _with("MAR-INF/MANIFEST.json", text)
    files = good_files()
    del files["MAR-INF/MANIFEST.json"]
    yield "no manifest", zip_of(entries_of(listed(files)))
    yield "an empty zip", zip_of([])


def _with(name: str, content: str | bytes) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return zip_of(entries_of(listed({**good_files(), name: content})))


def _contents() -> Iterator[tuple[str, bytes]]:
    """Files of a well-formed archive that are not what they should be."""
    nested = "[" * 100_000
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(23)
    )
    for name in ("model/config.json", "precision.json", "model/calibration.json"):
        for what, text in {
            "a list": "[]", "a text": '"x"', "null": "null", "nested": nested, "cut": '{"a": ',
            "no UTF-8": "\udcff", "NaN": '{"method": NaN}', "infinite": '{"a": Infinity}',
            "of a huge number": '{"a": ' + "9" * 5000 + "}", "of wrong types": '{"precision": 1, '
            '"texts": [], "method": [], "id2label": 3, "architectures": 3}',
        }.items():  # fmt: skip
            yield f"{name} is {what}", _with(name, text.encode("utf-8", "surrogateescape"))
    for what, text in {
        "a list": "[]", "null": "", "nested": nested, "cut": "a: [", "of Python's objects":
        "handler: !!python/object/apply:os.system [id]", "aliases of aliases": bomb,
        "a setting of aliases": f"{bomb}handler: {{precision: *x}}",
        "an alias of itself": "handler: &a {precision: *a}", "no workers": "batchSize: 8",
        "workers of another type": "minWorkers: many\nbatchSize: 8\nmaxBatchDelay: 2",
        "too many workers": f"minWorkers: {1 << 40}\nbatchSize: 8\nmaxBatchDelay: 2",
        "a switch for workers": "minWorkers: true\nbatchSize: 8\nmaxBatchDelay: 2",
        "no UTF-8": "\udcff", "NUL": "a: \0", "a date": "minWorkers: 2020-99-99",
        "a number of nothing": "a: !!int ''", "no time": "a: !!timestamp 'z'",
    }.items():  # fmt: skip
        yield (
            f"model-config.yaml is {what}",
            _with("model-config.yaml", text.encode("utf-8", "surrogateescape")),
        )
    for what, text in {
        "labels of another type": '{"0": ["x"], "1": {"a": 1}}', "a list": "[]", "cut": "{",
    }.items():  # fmt: skip
        yield f"index_to_name.json is {what}", _with("model/index_to_name.json", text)
    for name in ("model/config.json", "model-config.yaml", "SHA256SUMS"):
        files = listed(good_files())
        del files[name]
        yield f"{name} is missing", zip_of(entries_of(files))
    for what, sums in {"no UTF-8": b"\xff", "of one column": b"abc\n"}.items():
        yield (
            f"SHA256SUMS is {what}",
            zip_of(entries_of({**listed(good_files()), "SHA256SUMS": sums})),
        )
    yield "a config whose bytes are others", changed(b"model/config.json", central={"crc": 1})
    size = {"size": 1 << 29}
    yield "a config that is huge", changed(b"model/config.json", local=size, central=size)


def _unlisted() -> Iterator[tuple[str, bytes]]:
    """Whole in itself, but a file was added, left out or changed behind the checksums."""
    files = listed(good_files())
    yield "a module at the root", zip_of(entries_of({**files, "json.py": b"evil"}))
    yield "a module of the handler", zip_of(entries_of({**files, "handler/evil.py": b"evil"}))
    cached = "handler/__pycache__/__init__.cpython-311.pyc"
    yield "a cache of a module", zip_of(entries_of({**files, cached: b"evil"}))
    yield "a hidden file", zip_of(entries_of({**files, ".evil": b""}))
    yield "a start of Python's", zip_of(entries_of({**files, "sitecustomize.py": b"evil"}))
    gone = {name: content for name, content in files.items() if name != "model/model.safetensors"}
    yield "weights that are missing", zip_of(entries_of(gone))


CONTAINERS = dict(_containers())
MANIFESTS = dict(_manifests())
CONTENTS = dict(_contents())
UNLISTED = dict(_unlisted())

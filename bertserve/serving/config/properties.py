"""Java's .properties: read as TorchServe's front end reads them, written as all of TorchServe reads them.

The front end knows the whole format: continued lines, escapes, `:` or a blank after a key, and blanks
after a value as a part of it. The launcher, in Python, knows KEY=VALUE alone. So what TorchServe gets is
written anew, in the part of the format that both understand alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_KEY = re.compile(r"((?:\\.|[^\\=:\s])*)[ \t\f]*[=:]?[ \t\f]*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_MEANT = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_CONTROLS = {ord(value): f"\\{key}" for key, value in _MEANT.items()}


def parse_properties(content: bytes) -> dict[str, str]:
    """Key → value of a file's content, in UTF-8 with or without its mark, without blanks around values.

    ValueError says what cannot be read.
    """
    text = content.decode("utf-8-sig")
    found = {}
    for line in _logical_lines(text):
        match = _KEY.match(line)
        assert match is not None  # it matches nothing, too
        found[_unescaped(match[1])] = _unescaped(line[match.end() :]).strip()
    return found


def write_properties(properties: Mapping[str, str]) -> bytes:
    """Lines of KEY=VALUE, in ASCII."""
    lines = (f"{key}={_escaped(value)}\n" for key, value in properties.items())
    return "".join(lines).encode("ascii")


def _logical_lines(text: str) -> Iterator[str]:
    """Lines that hold a property, each joined with those that continue it."""
    whole = ""
    for line in re.split(r"\r\n|\r|\n", text):
        line = line.lstrip(" \t\f")
        if not whole and line[:1] in ("", "#", "!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            whole += line[:-1]
            continue
        yield whole + line
        whole = ""
    if whole:
        yield whole


def _unescaped(text: str) -> str:
    def meant(match: re.Match[str]) -> str:
        what = match[1]
        if len(what) > 1:
            return chr(int(what[1:], 16))
        if what == "u":
            raise ValueError(rf"\u is followed by four hexadecimal digits, not by {text[:40]!r}")
        return _MEANT.get(what, what)

    # two halves of a character beyond \uffff stand for one
    halves = _ESCAPE.sub(meant, text)
    return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _escaped(value: str) -> str:
    """As Java reads a value, which takes a file of properties for Latin-1."""
    units = value.replace("\\", "\\\\").translate(_CONTROLS).encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)

"""What is printed is shown, never obeyed: nothing in it moves the cursor or turns a word round.

Texts, labels, names, versions and messages come from anywhere. All that is printed goes through a
console, or a stream, of this module.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

# controls, formats (turns of direction, what has no width), halves of a character, ends of lines
_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
_KEPT = "\n\t\u200c\u200d"  # joiners are parts of words, and of emoji


def _written(code: int) -> str:
    """As Python writes it: \\x1b, \\u202e."""
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_UNSAFE = {
    code: _written(code)
    for code in range(sys.maxunicode + 1)
    if unicodedata.category(chr(code)) in _CATEGORIES and chr(code) not in _KEPT
}


def shown(text: str) -> str:
    """A text with what a terminal would obey written as Python writes it."""
    return text if text.isascii() and text.isprintable() else text.translate(_UNSAFE)


def as_json(value: Any, **options: Any) -> str:
    """JSON that is the same for programs, and harmless on a terminal."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return "".join(json.dumps(each)[1:-1] if ord(each) in _UNSAFE else each for each in text)


class ShownConsole(Console):
    """A console whose own colours work, and nobody else's."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Strings, before they are laid out: columns have the width of what is shown."""
        return super().render_str(shown(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Whatever else is printed: texts that were no strings, lines of progress."""
        for segment in super().render(renderable, options):
            safe = segment.text if segment.control else shown(segment.text)
            yield segment if safe == segment.text else Segment(safe, segment.style)


class ShownStream:
    """Standard output for data: as it is in a pipe or a file, shown on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()

    def write(self, text: str) -> int:
        """As a file's."""
        return self._stream.write(shown(text.replace("\r\n", "\n")) if self._terminal else text)

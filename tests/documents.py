"""The pages for people: their marked code blocks and their tables."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"<!-- (?P<mark>[^>]+) -->\n```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A call in some language, and the answer that the page promises."""

    language: str
    code: str
    status: int
    answer: Any


def blocks(page: str, mark: str) -> list[str]:
    """The code of the blocks of a page that stand under `<!-- mark… -->`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [match["code"] for match in _BLOCK.finditer(text) if match["mark"].startswith(mark)]
    assert found, f"{page} has no block marked {mark}"
    return found


def examples(page: str) -> list[Example]:
    """The blocks of a page under `<!-- example -->`, each with the `<!-- answer -->` that follows it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [match for match in _BLOCK.finditer(text) if match["mark"] != "prepare"]
    calls, answers = found[::2], found[1::2]
    assert [call["mark"] for call in calls] == ["example"] * len(answers)
    return [
        Example(
            call["language"],
            call["code"],
            int(answer["mark"].removeprefix("answer").removeprefix(": ") or 200),
            json.loads(answer["code"]),
        )
        for call, answer in zip(calls, answers, strict=True)
    ]


def shape(value: Any) -> Any:
    """What an answer looks like whatever the model: maps of numbers and lists lose their length."""
    if isinstance(value, dict):
        is_map = all(isinstance(item, float) for item in value.values())
        return "a map" if is_map else {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        distinct: list[Any] = []
        for item in map(shape, value):
            if item not in distinct:
                distinct.append(item)
        return distinct
    return type(value).__name__


def table(page: str, first_column: str) -> dict[str, list[str]]:
    """The rows of the table of a page whose first column has that title: first cell → other cells."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = next(
        number for number, line in enumerate(lines) if line.startswith(f"| {first_column} |")
    )
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name.strip("`")] = cells
    return rows

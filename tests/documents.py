"""The pages for people: their marked code blocks and their tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"<!-- (?P<mark>[^>]+) -->\n```\w+\n(?P<code>.*?)```", re.DOTALL)


def blocks(page: str, mark: str) -> list[str]:
    """The code of the blocks of a page that stand under `<!-- mark… -->`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [match["code"] for match in _BLOCK.finditer(text) if match["mark"].startswith(mark)]
    assert found, f"{page} has no block marked {mark}"
    return found


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

"""Where the kit's own modules lie, and what other programs see of them."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_OWN = [str(ROOT / "scripts"), str(ROOT), str(ROOT / "tests")]


def kit_environment(*first: Path) -> dict[str, str]:
    """The environment of a process of the kit; Python looks into the folders `first` before others."""
    paths = [*map(str, first), *_OWN, *_others()]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def hide_from_others() -> None:
    """Have programs started from here not find the kit: a worker must find its archive's handler."""
    os.environ["PYTHONPATH"] = os.pathsep.join(_others())


def _others() -> list[str]:
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [path for path in paths if path and path not in _OWN]

"""What a check is, how it is run, and the line that it gets."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Figures = dict[str, Any]


class Wrong(Exception):
    """What was found is not what it must be; the message says both."""


class Impossible(Exception):
    """What a check needs is not there; the message says what."""


@dataclass(frozen=True)
class Found:
    """What a check found: a few words for the table, and all figures for programs."""

    text: str
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One thing to look at. `run` returns what it found, or raises."""

    name: str
    run: Callable[[], Found]


Checks = Generator[Check, None, None]  # of a part; what they share is put away when it is closed


@dataclass(frozen=True)
class Row:
    """How a check ended: `ok`, `WRONG`, `skipped`."""

    part: str
    name: str
    outcome: str
    text: str
    seconds: float
    figures: Figures


def run(part: str, check: Check) -> Row:
    """Run a check; its row has whatever is wrong, but for a GPU that is lost to this process."""
    start = time.monotonic()
    figures: Figures = {}
    try:
        found = check.run()
        outcome, text, figures = "ok", found.text, found.figures
    except Impossible as reason:
        outcome, text = "skipped", str(reason)
    except Wrong as reason:
        outcome, text = "WRONG", str(reason)
    except torch.AcceleratorError:
        raise
    except Exception as error:  # whatever it is: the other checks are to run
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        outcome, text = "WRONG", f"{type(error).__name__} at {place}: {_one_line(error)}"
        figures = {"traceback": traceback.format_exc()}
    return Row(part, check.name, outcome, text, time.monotonic() - start, figures)


def show(row: Row) -> None:
    """Print a line of the table."""
    words = f"{row.part:8} {row.name:42} {row.outcome:7} {row.seconds:6.1f} s  {row.text}"
    print(words, flush=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

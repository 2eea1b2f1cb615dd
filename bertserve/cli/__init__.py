"""The commands: they parse, call the module that does the work, and print.

program      the program and what its commands share
archives     package, inspect
serving      serve, status, stop
predicting   predict
evaluating   evaluate
calibrating  calibrate
explaining   explain
versions     rollout, rollback, canary, models …
labelled     where labelled texts stand, and a bar
inputs       texts from arguments and files
printing     tables, and JSON for programs
figures      those of evaluations and calibrations
"""

from __future__ import annotations

import io
import os
import sys

from rich.markup import escape

from ..errors import BertserveError
from ..handler.errors import LoadError
from ..remedies import sentence
from . import (
    archives,
    calibrating,
    evaluating,
    explaining,
    predicting,
    serving,
    versions,
)  # each adds its commands
from .program import app, err

__all__ = [
    "archives",
    "calibrating",
    "evaluating",
    "explaining",
    "main",
    "predicting",
    "serving",
    "versions",
]


def main() -> None:
    """Run a command; what the caller can mend is one sentence, not a traceback."""
    for stream in (sys.stdout, sys.stderr):  # whatever the locale: files are UTF-8 as well
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except BrokenPipeError:  # who reads the results has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (BertserveError, LoadError, OSError) as error:  # a full disk or a locked folder too
        said = sentence(error) if isinstance(error, OSError) else str(error)
        err.print(f"[red]Error:[/] {escape(said)}", soft_wrap=True, highlight=False)
        sys.exit(1)

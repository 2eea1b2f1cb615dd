"""A rollout in a process of its own, which ends as the command does: undone, by whatever ends it.

Its standard input is what is asked, a line of JSON; its output are lines of JSON: steps, what the
comparison found, and in the end the outcome or an error. A SIGTERM stops it, and so does the end of the
console.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from ..clients import read_texts
from ..errors import BertserveError
from ..handler.errors import LoadError
from ..serving import find
from ..system import as_ctrl_c, tie_to
from ..versions import Limits, rollout
from .replies import problem, to_json


def main() -> None:
    """Roll out what is asked."""
    tie_to(int(sys.argv[1]), signal.SIGTERM)
    as_ctrl_c()
    asked = json.loads(sys.stdin.readline())
    try:
        outcome = rollout(
            find(Path(asked["config"])),
            Path(asked["archive"]),
            texts=list(read_texts(asked["texts"].splitlines(), "texts")),
            limits=Limits(labels_changed=asked["labels_changed"], slowdown=asked["slowdown"]),
            watch=asked["watch"],
            report=lambda step: _tell(step=step),
            compared=lambda found: _tell(comparison=found),
        )
    except KeyboardInterrupt:
        _tell(stopped=True)
    except (BertserveError, LoadError, OSError) as error:
        _tell(**problem(error))
    else:
        _tell(outcome=outcome)


def _tell(**said: Any) -> None:
    """A line for the console, if it is there still: what it began is undone without it too."""
    with contextlib.suppress(OSError):
        sys.stdout.write(to_json(said) + "\n")
        sys.stdout.flush()

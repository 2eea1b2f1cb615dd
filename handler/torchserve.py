"""What TorchServe's front end allows its workers, from the configuration that it was started with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_FRONT_END = "org.pytorch.serve.ModelServer"
_USUAL_ANSWER = 6_553_500  # bytes
_PROCESSES = Path("/proc")


def largest_answer() -> int:
    """Bytes that one answer may have, `max_response_size` of config.properties.

    TorchServe closes the connection to a worker that sends a larger one, which costs the worker and all
    the requests of its batch. It does not tell its workers, so they look at how it was started; where
    they cannot, it is TorchServe's usual number.
    """
    properties = next((_properties(*each) for each in _ancestors() if _FRONT_END in each[0]), {})
    try:
        return int(properties["max_response_size"])
    except (KeyError, ValueError):
        return _USUAL_ANSWER


def _properties(command: list[str], folder: Path) -> Mapping[str, str]:
    """What a front end that runs in a folder read; it is started with `-f FILE`."""
    try:
        from ts.model_server import load_properties

        return dict(load_properties(str(folder / command[command.index("-f") + 1])))
    except (ImportError, OSError, ValueError, IndexError):
        return {}


def _ancestors() -> Iterator[tuple[list[str], Path]]:
    """Command line and folder of the parent process, of its parent, and so on; none without /proc."""
    process = os.getppid()
    while process > 1:
        try:
            told = _PROCESSES / str(process)
            command = (told / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            yield command, (told / "cwd").readlink()
            # the name stands in brackets, and may have blanks and brackets
            process = int(
                (told / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
            )
        except (OSError, ValueError, IndexError):
            return

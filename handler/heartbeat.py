"""Signs of life of a worker, for whoever watches it from outside.

A file of two numbers, seconds of the clock that all processes of a machine share: when the worker last
had a moment, and since when it is at the batch that it is at, 0 while it has none.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# names the folder of the files; each is called as the process id of its worker
FOLDER = "BERTSERVE_HEARTBEATS"
LAYOUT = struct.Struct("=dd")
_INTERVAL = 0.25  # seconds


class Heartbeat:
    """A worker's own; without the folder nobody watches, and nothing is written."""

    def __init__(self) -> None:
        folder = os.environ.get(FOLDER)
        self._told: mmap.mmap | bytearray = bytearray(LAYOUT.size)
        if folder and Path(folder).is_dir():
            with (Path(folder) / str(os.getpid())).open("w+b") as file:
                file.write(LAYOUT.pack(time.monotonic(), 0.0))
                file.flush()
                self._told = mmap.mmap(file.fileno(), LAYOUT.size)
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While a batch is computed."""
        self._told[8:16] = struct.pack("=d", time.monotonic())
        try:
            yield
        finally:
            self._told[8:16] = struct.pack("=d", 0.0)

    def _beat(self) -> None:
        while True:
            self._told[0:8] = struct.pack("=d", time.monotonic())
            time.sleep(_INTERVAL)

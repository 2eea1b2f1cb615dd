"""Run a Python program that ends when the process that started it does: tied.py PARENT PROGRAM ARGUMENT …

It needs nothing but Python, for what it runs has an archive's packages in its path and not ours.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie_to(parent: int, ending: signal.Signals = signal.SIGKILL) -> None:
    """Have the system end this process when its parent ends, by a signal; only Linux can."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ending)
    if os.getppid() != parent:  # it has ended already
        sys.exit(1)


if __name__ == "__main__":
    tie_to(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")

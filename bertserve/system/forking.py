"""Import what takes long once, then run Python programs in forks that have it: forking.py SOCKET MODULE …

It needs nothing but Python, for what it runs has an archive's packages in its path and not ours. Each
message of the socket asks for one program, see `Forkserver.started`, and brings its standard input,
output and error, and a pipe for its process id, which is closed when it has ended.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from pathlib import Path

STREAMS = 3
LONGEST = 65536  # bytes of a message


def become(parent: int, folder: str, script: str, arguments: list[str]) -> None:
    """Be the program, as if Python had been started for it with this folder as its path."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = folder
    sys.dont_write_bytecode = True
    tied = str(Path(sys.path[0], "tied.py"))
    sys.path[0] = folder
    sys.argv = [tied, str(parent), script, *arguments]
    try:
        runpy.run_path(tied, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # to take thousands of modules apart takes longer than most programs


def main() -> None:
    """Fork until nobody asks any more."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        with contextlib.suppress(ImportError):  # the program that needs it will say so
            importlib.import_module(name)
    gc.freeze()  # so that forks share what they do not change
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that end
    myself = os.getpid()
    while True:
        message, passed, _, _ = socket.recv_fds(control, LONGEST, STREAMS + 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            for number, stream in enumerate(passed[:STREAMS]):
                os.dup2(stream, number)
            os.write(passed[STREAMS], b"%d\n" % os.getpid())
            become(myself, *json.loads(message))
        for each in passed:
            os.close(each)


if __name__ == "__main__":
    main()

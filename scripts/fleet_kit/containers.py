"""Containers: a process of its own root, process tree and network, as a runtime of images makes them.

Its root is this machine's, over which lie files and folders of its own; what it writes elsewhere goes
away with it. Its first process has the number 1 there, and all others end with that.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from .hosts import NAMESERVER, Host, on

# of the project's image
USER = 10001
# what the image has installed; a mount may hide it
_CHECKOUT = Path(__file__).resolve().parent.parent.parent
_HIDDEN = (
    "/root",
)  # folders of this machine that the user of the image must be able to pass through
_SETUP = """
set -e
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {root}
mount --rbind /dev {root}/dev
mount -t proc proc {root}/proc
for hidden in {hidden}; do chmod o+x {root}$hidden; done
rm -f {root}/etc/resolv.conf
echo nameserver {nameserver} > {root}/etc/resolv.conf
{binds}
exec chroot --userspec={user}:{user} {root} env -i {environment} {command}
"""


@dataclass(frozen=True)
class Container:
    """A running one. `pid` is its first process, as this machine counts; `root` is where that is seen."""

    starter: subprocess.Popen[bytes]
    pid: int
    folder: Path
    environment: Mapping[str, str]

    def signal(self, number: signal.Signals) -> None:
        """Send its first process a signal; SIGKILL ends all of its processes."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def run(self, command: Sequence[str], timeout: float) -> int | None:
        """Run another command in it; its exit status, None where it took too long."""
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--root"]
        inside += ["--wd=/", "--setuid", str(USER), "--setgid", str(USER), "env", "-i"]
        inside += [f"{name}={value}" for name, value in self.environment.items()]
        try:
            done = subprocess.run(
                [*inside, *command], timeout=timeout, check=False, capture_output=True
            )
        except subprocess.TimeoutExpired:
            return None
        return done.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status; None where it did not end in time."""
        try:
            return self.starter.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def remove(self) -> None:
        """End it, and what it wrote goes away."""
        self.signal(signal.SIGKILL)
        self.starter.kill()
        self.starter.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start(
    host: Host,
    folder: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    mounts: Mapping[str, Path],
    log: IO[bytes],
) -> Container:
    """Run a command in a container on a host.

    folder   what the container writes outside of its mounts
    mounts   path in the container → folder of this machine that is seen there
    """
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    root = folder / "root"
    binds = "\n".join(
        f"mkdir -p {root}{path}; mount --bind {shlex.quote(str(source))} {root}{path}"
        for path, source in [*sorted(mounts.items()), (_CHECKOUT, _CHECKOUT)]
    )
    programs = Path(sys.executable).parent
    usual = {"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    environment = {**usual, **environment}
    given = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
    script = _SETUP.format(
        folder=folder,
        root=root,
        nameserver=NAMESERVER,
        hidden=" ".join(_HIDDEN),
        binds=binds,
        user=USER,
        environment=given,
        command=shlex.join(command),
    )
    # it ends with this program, however that ends
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid"]
    alone += ["--fork", "--kill-child", "bash", "-c", script]
    starter = subprocess.Popen(
        on(host, alone), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    while not (children := psutil.Process(starter.pid).children()):
        if starter.poll() is not None:
            raise RuntimeError(f"a container did not start; look into {log.name}")
    return Container(starter, children[0].pid, folder, environment)

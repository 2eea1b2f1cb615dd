"""Pods that run what the manifests say, and the names that lead to them.

A pod is a host with containers. What ends in it is started anew, as a kubelet does; what is deleted gets
the time that its manifest gives it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from .containers import USER, Container, start
from .hosts import Host, Network, on
from .manifests import Chart, ContainerSpec, PodSpec

_PATIENCE = 600.0  # seconds for a pod to become ready, on a machine that is busy
_LOOK = 0.2  # seconds


class Pod:
    """A pod that runs. Its init containers have ended when this returns; it need not be ready."""

    def __init__(self, spec: PodSpec, host: Host, folder: Path) -> None:
        self.spec, self.host, self.folder = spec, host, folder
        self.restarts = 0
        self._numbers = count()
        self._deleted, self._changing = False, threading.Lock()
        self._containers: dict[str, Container] = {}
        for name, files in spec.volumes.items():
            self._write(name, files)
        for each in spec.init:
            if status := self._start(each).wait(_PATIENCE):
                raise RuntimeError(f"{each.name} ended with {status}; look into {folder}")
        for each in (*spec.beside, spec.main):
            self._start(each)
            threading.Thread(target=self._keep, args=(each,), daemon=True).start()

    @property
    def main(self) -> Container:
        """Its main container."""
        return self._containers[self.spec.main.name]

    def is_ready(self, *, seconds: float = 2) -> bool:
        """Whether the probe of its main container succeeds."""
        url = f"http://{self.host.address}:8083/ready"
        asked = on(self.host, ["curl", "-s", "-f", "-m", str(seconds), "-o", "/dev/null", url])
        return subprocess.run(asked, check=False).returncode == 0

    def wait_until_ready(self) -> float:
        """Wait, and say how many seconds it took."""
        begin = time.monotonic()
        while not self.is_ready():
            if time.monotonic() - begin > _PATIENCE:
                raise RuntimeError(f"{self.host.address} is not ready; look into {self.folder}")
            time.sleep(_LOOK)
        return time.monotonic() - begin

    def all(self, number: signal.Signals) -> None:
        """Send all of its processes a signal."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.host.namespace], check=True, capture_output=True, text=True
        )
        for pid in map(int, listed.stdout.split()):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def delete(self) -> None:
        """Stop it as a kubelet does: what is before the stop, SIGTERM, time, then those beside it."""
        with self._changing:
            self._deleted = True
        last = time.monotonic() + self.spec.grace
        if command := self.spec.main.before_stop:
            self.main.run(command, self.spec.grace)
        self._stop(self.main, last)
        for each in reversed(self.spec.beside):
            self._stop(self._containers[each.name], last)
        shutil.rmtree(self.folder / "volumes", ignore_errors=True)

    def kill(self) -> None:
        """End all of it at once, for good."""
        with self._changing:
            self._deleted = True
        for each in self._containers.values():
            each.remove()

    def _stop(self, container: Container, last: float) -> None:
        container.signal(signal.SIGTERM)
        container.wait(max(0.0, last - time.monotonic()))
        container.remove()

    def _keep(self, spec: ContainerSpec) -> None:
        """Start a container anew whenever it has ended."""
        while True:
            self._containers[spec.name].wait()
            with self._changing:
                if self._deleted:
                    return
                self._containers[spec.name].remove()
                self.restarts += 1
                self._start(spec)

    def _start(self, spec: ContainerSpec) -> Container:
        name = f"{spec.name}-{next(self._numbers)}"
        mounts = {path: self.folder / "volumes" / of for path, of in spec.mounts.items()}
        with (self.folder / f"{spec.name}.log").open("ab") as log:
            os.fchown(log.fileno(), USER, USER)  # nginx opens its output anew
            found = start(
                self.host, self.folder / name, spec.command, spec.environment, mounts, log
            )
        self._containers[spec.name] = found
        return found

    def _write(self, volume: str, files: dict[str, str]) -> None:
        folder = self.folder / "volumes" / volume
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_text(content)
        for path in (folder, *folder.iterdir()):
            os.chown(path, USER, USER)


class Fleet:
    """Replicas and a gateway in a network of their own; `address` is the gateway's."""

    def __init__(self, chart: Chart, network: Network, folder: Path) -> None:
        self.chart, self.network, self.folder = chart, network, folder
        self.replicas: list[Pod] = []
        folder.mkdir()
        self._names = folder / "hosts"
        self._numbers = count()
        self._spare: list[Host] = []
        self._named()

    @contextmanager
    def running(self, replicas: int) -> Iterator[Fleet]:
        """So many replicas that are ready, and the gateway in front of them."""
        with ExitStack() as stack:
            stack.enter_context(self._dns())
            stack.callback(self._end)
            for _ in range(replicas):
                self.add()
            for each in self.replicas:
                each.wait_until_ready()
            pod = Pod(self.chart.pods["gateway"], self.network.host(), self.folder / "gateway")
            stack.callback(pod.kill)
            self.address = pod.host.address
            while not self._answers():
                time.sleep(_LOOK)
            yield self

    def add(self, chart: Chart | None = None) -> Pod:
        """Start one more replica; it need not be ready yet."""
        host = self._spare.pop() if self._spare else self.network.host()
        folder = self.folder / f"replica-{next(self._numbers)}"
        # its address is known from the beginning, ready or not
        self._named(host)
        pod = Pod((chart or self.chart).pods["replica"], host, folder)
        self.replicas.append(pod)
        return pod

    def remove(self, pod: Pod) -> None:
        """Delete a replica."""
        pod.delete()
        self.replicas.remove(pod)
        self._spare.append(pod.host)
        self._named()

    def _named(self, *more: Host) -> None:
        """Let the name of the replicas lead to those that there are."""
        hosts = [*(each.host for each in self.replicas), *more]
        name = self.chart.replicas_name
        self._names.write_text("".join(f"{host.address} {name}\n" for host in hosts))
        if dns := getattr(self, "_server", None):
            dns.send_signal(signal.SIGHUP)

    @contextmanager
    def _dns(self) -> Iterator[None]:
        command = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--pid-file="]
        command += [f"--addn-hosts={self._names}", "--user=root", "--bind-interfaces"]
        command += [f"--listen-address={self.network.bridge.address}", "--conf-file=/dev/null"]
        self._server = subprocess.Popen(on(self.network.bridge, command))
        try:
            yield
        finally:
            self._server.terminate()
            self._server.wait()

    def _answers(self) -> bool:
        command = ["curl", "-s", "-f", "-m", "2", "-o", "/dev/null", f"{self.address}:8404/ready"]
        return subprocess.run(on(self.network.bridge, command), check=False).returncode == 0

    def _end(self) -> None:
        for each in self.replicas:
            each.kill()

"""Hosts: network namespaces on a bridge.

with Network() as network:
    one, other = network.host(), network.host()
    network.run(one, ["ping", "-c1", other.address])
"""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count

_NET = "10.77.0"
NAMESERVER = f"{_NET}.1"  # the bridge


@dataclass(frozen=True)
class Host:
    """A network namespace, its address, and the other end of its cable."""

    namespace: str
    address: str
    cable: str


class Network:
    """A bridge, which has the first address, and hosts on it."""

    def __enter__(self) -> Network:
        self._running = ExitStack()
        self._numbers = count(2)
        self.bridge = Host(f"fleet{os.getpid()}", NAMESERVER, "bridge")
        self._add(self.bridge)
        for command in (
            "link add bridge type bridge",
            f"addr add {self.bridge.address}/24 dev bridge",
            "link set bridge up",
        ):
            _ip("-n", self.bridge.namespace, *command.split())
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def host(self) -> Host:
        """One more."""
        number = next(self._numbers)
        host = Host(f"{self.bridge.namespace}-{number}", f"{_NET}.{number}", f"cable{number}")
        self._add(host)
        there = self.bridge.namespace
        peer = ["peer", "name", "eth0", "netns", host.namespace]
        _ip("-n", there, "link", "add", host.cable, "type", "veth", *peer)
        _ip("-n", there, "link", "set", host.cable, "master", "bridge", "up")
        _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.namespace, "link", "set", "eth0", "up")
        return host

    def connect(self, host: Host, *, connected: bool = True) -> None:
        """Plug its cable in, or pull it out."""
        state = "up" if connected else "down"
        _ip("-n", self.bridge.namespace, "link", "set", host.cable, state)

    def _add(self, host: Host) -> None:
        _ip("netns", "add", host.namespace)
        self._running.callback(_ip, "netns", "delete", host.namespace)
        _ip("-n", host.namespace, "link", "set", "lo", "up")


def on(host: Host, command: list[str]) -> list[str]:
    """A command as it is run on a host."""
    return ["ip", "netns", "exec", host.namespace, *command]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)

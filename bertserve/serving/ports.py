"""Ports that a server binds: free, or refused in a sentence that names the setting."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

from ..errors import ServerError
from .config import Config

_POLL = 0.2  # seconds
_PORT_TIMEOUT = 3.0


def check_ports(config: Config) -> None:
    """ServerError if a port stays taken; a server that was killed holds its own for a moment."""
    deadline = time.monotonic() + _PORT_TIMEOUT
    for setting, (host, port) in config.ports().items():
        while error := _bind_error(host, port):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"port {port} of {host} cannot be used ({error}); end what holds it, "
                    f"or change {setting} in {config.path}"
                )
            time.sleep(_POLL)


def with_supervisor(config: Config) -> Config:
    """The configuration with another port for the supervisor where nobody chose one, and it is taken."""
    host, port = config.ports()["supervisor_address"]
    if config.supervisor_fixed or not _bind_error(host, port):
        return config
    with socket.socket() as free:
        free.bind((host, 0))
        return replace(config, supervisor=f"http://{host}:{free.getsockname()[1]}")


def _bind_error(host: str, port: int) -> str | None:
    """Why a port cannot be bound, or None where it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror
    return None

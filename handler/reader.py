"""TorchServe's messages, read from the socket in large pieces instead of field by field.

Left alone a worker asks the kernel about 45 times for each request that came over HTTP. The function that
is replaced is TorchServe's own affair, so it is replaced only in the release whose source is known.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import socket
import sys
from collections.abc import Callable
from types import ModuleType

_SOURCE = "83e82dc62b4a95a362efe4518786c6b389b895b85acaf37721aaff042ec9989a"
_AT_ONCE = 1 << 16

logger = logging.getLogger(__name__)


def read_in_large_pieces() -> bool:
    """Have this worker read so, from the next message on; returns whether it does."""
    try:
        from ts.protocol import otf_message_handler

        known = hashlib.sha256(inspect.getsource(otf_message_handler).encode()).hexdigest()
    except (ImportError, OSError):
        return False
    if known != _SOURCE:
        logger.warning("this TorchServe is not 0.12.0: its messages are read more slowly")
        return False
    install(otf_message_handler)
    return True


def install(protocol: ModuleType) -> None:
    """Put the reader in the place of TorchServe's, in the module that reads messages."""
    vars(protocol)["_retrieve_buffer"] = buffered_reader()


def buffered_reader() -> Callable[[socket.socket, int], bytearray]:
    """A function that returns the next bytes of a worker's one connection."""
    buffer = bytearray()
    position = 0

    def retrieve_buffer(connection: socket.socket, length: int) -> bytearray:
        nonlocal buffer, position
        if len(buffer) - position < length:
            del buffer[:position]
            position = 0
        while len(buffer) < length + position:
            received = connection.recv(_AT_ONCE)
            if not received:
                logging.info("Frontend disconnected.")
                sys.exit(0)  # as TorchServe's own does
            buffer += received  # in place: a message may be large
        position += length
        return buffer[position - length : position]

    return retrieve_buffer

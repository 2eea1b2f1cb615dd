"""The console's web server, on loopback alone.

console(find, port=8084, manage=False, opened=print)
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
from collections.abc import Callable

import uvicorn

from ..errors import ConfigError
from ..serving import Server
from .app import application
from .guard import Guard

_HOST = "127.0.0.1"
_CLOSING = 1  # seconds that open streams have when it ends


def console(
    find: Callable[[], Server], *, port: int, manage: bool, opened: Callable[[str], None]
) -> None:
    """Serve the page until a SIGINT, SIGTERM or SIGHUP; `opened` is told its address.

    find     gives the server that runs, again and again, for it may be another one later
    port     0 for any that is free
    manage   whether the page may roll out and back

    ConfigError where the port is taken; NotRunning where there is no server.
    """
    find()
    token = secrets.token_urlsafe(32)
    app = Guard(application(find, manage=manage), token)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_CLOSING,
    )
    with _listening(port) as listener:
        opened(f"http://{_HOST}:{listener.getsockname()[1]}/?token={token}")
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"port {port} cannot be had ({error.strerror}); choose another with --port, or 0 for any"
        ) from error
    listener.listen()
    return listener

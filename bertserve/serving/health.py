"""What machines ask the supervisor: kubelets, balancers, autoscalers, whoever ends a server.

GET  /live, /v2/health/live     200
GET  /ready, /v2/health/ready   200 {"ready": true}, or 503 with what is missing
POST /drain                     from this machine alone: not ready from now on; answers once nothing
                                waits or is under way
GET  /metrics                   gauges for Prometheus
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from .gauges import MEDIA_TYPE


class Watched(Protocol):
    """What is asked."""

    def missing(self) -> list[str]:
        """What keeps requests from being answered, a sentence each; nothing where they are."""

    def drain(self) -> dict[str, int]:
        """Be ready no more, and wait; requests that wait and workers at a batch when there is no more
        time.
        """

    def metrics(self) -> bytes:
        """Gauges in Prometheus' format."""


def answer_at(watched: Watched, host: str, port: int) -> ThreadingHTTPServer:
    """Answer at an address, from threads of its own."""

    class Answers(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a caller to say what he wants
        server_version = sys_version = ""

        def do_GET(self) -> None:
            if self.path in ("/live", "/v2/health/live"):
                self._send(200, {"live": True})
            elif self.path in ("/ready", "/v2/health/ready"):
                missing = watched.missing()
                self._send(
                    503 if missing else 200,
                    {"ready": False, "missing": missing} if missing else {"ready": True},
                )
            elif self.path == "/metrics":
                self._write(200, watched.metrics(), MEDIA_TYPE)
            else:
                self._refuse(404, "not_found", "there is nothing at this path; see docs/serving.md")

        def do_POST(self) -> None:
            if self.path != "/drain":
                self._refuse(404, "not_found", "there is nothing at this path; see docs/serving.md")
            elif not self._is_of_this_machine():
                self._refuse(403, "foreign", "only programs of this machine may drain the server")
            else:
                left = watched.drain()
                is_drained = not any(left.values())
                self._send(200 if is_drained else 503, {"drained": is_drained, **left})

        def _is_of_this_machine(self) -> bool:
            """Not so a page of elsewhere, in somebody's browser here."""
            caller, mine = self.client_address[0], self.connection.getsockname()[0]
            return caller == mine and "Origin" not in self.headers

        def _refuse(self, status: int, code: str, message: str) -> None:
            self._send(status, {"error": {"code": code, "message": message}})

        def _send(self, status: int, value: object) -> None:
            self._write(status, json.dumps(value).encode(), "application/json")

        def _write(self, status: int, body: bytes, media_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: probes come every second, and paths are what callers wrote."""

    class Http(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            """Nothing: a caller went away."""

    http = Http((host, port), Answers)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    return http

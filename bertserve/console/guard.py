"""Who may ask the console, and what its pages may do.

The address that is printed holds a token for one browser: who opens it first gets a cookie, and the
token is spent. Everything else needs the cookie. Names of other hosts, pages of other origins and what is
no HTTP are refused before anything is looked at; no page of ours may run, show or ask what is not ours.
"""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .replies import refusal

COOKIE = "bertserve-console-"  # and something of each: browsers keep no port in mind
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_HOSTS = ("127.0.0.1", "localhost", "::1")
_ITSELF = ("same-origin", "none")


class Guard:
    """Lets what may pass on to an application, and says what browsers may do with its answers."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token: str | None = token
        self._session = secrets.token_urlsafe(32)
        self._name = COOKIE + secrets.token_hex(4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        enters = self._enters(request)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if enters:
                    headers.append("Set-Cookie", self._cookie())
            await send(message)

        refused = self._refused(request, enters)
        app = self._app if refused is None else refusal(403, "refused", refused)
        await app(scope, receive, guarded)

    def _enters(self, request: Request) -> bool:
        """Whether somebody opens the address that was printed, for the first time."""
        shown = request.query_params.get("token")
        is_door = request.method == "GET" and request.url.path == "/"
        if not (shown and is_door and self._token and _is_ours(request.headers)):
            return False
        if not hmac.compare_digest(shown.encode(), self._token.encode()):
            return False
        self._token = None
        return True

    def _refused(self, request: Request, enters: bool) -> str | None:
        """Why a request is refused; None where it is not."""
        if not _is_ours(request.headers):
            return "this console answers at the address that it printed, and to its own page alone"
        site = request.headers.get("Sec-Fetch-Site", "none")
        opens = request.url.path == "/" and request.headers.get("Sec-Fetch-Dest") == "document"
        if site not in _ITSELF and not opens:
            return "another page asks, and this console answers to its own alone"
        shown = request.cookies.get(self._name, "")
        if enters or hmac.compare_digest(shown.encode(), self._session.encode()):
            return None
        return (
            "this needs the address that `bertserve console` printed, which opens in one browser, once; "
            "start it again for another"
        )

    def _cookie(self) -> str:
        return f"{self._name}={self._session}; Path=/; HttpOnly; SameSite=Strict"


def _is_ours(headers: Headers) -> bool:
    """Whether a request is for this machine by name, and of a page of the same origin if of any.

    A name of elsewhere may lead here too, so that its pages would be of the same origin.
    """
    host = headers.get("Host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name in _HOSTS and headers.get("Origin", f"http://{host}") == f"http://{host}"

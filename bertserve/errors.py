"""The errors of the operator's side; each message is one sentence with what to do next.

BertserveError
├── ConfigError         config.properties, or an option, is wrong
├── PackageError        a model folder, or an archive, is not fit to be served
├── ServerError         TorchServe does not start, or does not do what it was asked
│   ├── NotRunning      there is no server to talk to
│   └── RolloutFailed   a new version was not taken; what was served before is served again
└── ClientError         a model does not answer
    ├── Unavailable     no server, or no worker: tried again until the deadline
    │   └── WorkerDied  the worker died while it had the request: tried again twice
    ├── TimedOut        no answer in time
    ├── KeyRefused      the key is missing, wrong, or has expired
    ├── ModelNotFound   the server has no such model, or no such version of it
    └── TextError       a model refused one text; `code` is one of the wire's error codes
        └── TooLarge    a request, or its answer, is larger than the server passes on
"""

from __future__ import annotations

from typing import Any


class BertserveError(Exception):
    """Something that the person who called can mend."""


class ConfigError(BertserveError):
    """`config.properties`, or an option, is wrong."""


class PackageError(BertserveError):
    """A model folder, or an archive, is not fit to be served."""


class ServerError(BertserveError):
    """TorchServe does not start, or does not do what it was asked."""


class NotRunning(ServerError):
    """There is no server to talk to."""


class RolloutFailed(ServerError):
    """A new version was not taken; what was served before is served again."""


class ClientError(BertserveError):
    """A model does not answer."""


class Unavailable(ClientError):
    """No server, or no worker; clients try again until their deadline.

    `retry_after` are the seconds for which the server asks not to be tried again.
    """

    def __init__(self, message: str, retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WorkerDied(Unavailable):
    """The worker died while it had the request, which may be why: clients try again only twice."""


class TimedOut(ClientError):
    """No answer in time; the server may be working on it still, so it is not asked again."""


class KeyRefused(ClientError):
    """The key is missing, wrong, or has expired; `by_proxy` where not TorchServe says so."""

    def __init__(self, message: str, by_proxy: bool = False) -> None:
        super().__init__(message)
        self.by_proxy = by_proxy


class ModelNotFound(ClientError):
    """The server has no such model, or no such version of it."""


class TextError(ClientError):
    """A model refused a request or one text of it; `fields` are those of the wire's error object."""

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.fields = fields

    def __str__(self) -> str:
        return self.message

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TextError):
            return NotImplemented
        return (self.code, self.message, self.fields) == (other.code, other.message, other.fields)

    def __hash__(self) -> int:
        return hash((self.code, self.message))


class TooLarge(TextError):
    """A request, or its answer, is larger than the server passes on; clients split it where they can.

    `code` is too_large, or the handler's own: too_many_texts, answer_too_large.
    """

    def __init__(self, message: str, code: str = "too_large", **fields: Any) -> None:
        super().__init__(code, message, **fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return _too_large, (self.message, self.code, self.fields)


def _too_large(message: str, code: str, fields: dict[str, Any]) -> TooLarge:
    return TooLarge(message, code, **fields)

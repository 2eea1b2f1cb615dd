"""The errors of the operator's side; each message is one sentence with what to do next.

BertserveError
├── ConfigError        config.properties, or an option, is wrong
├── PackageError       a model folder, or an archive, is not fit to be served
├── ServerError        TorchServe does not start, or does not do what it was asked
│   └── NotRunning     there is no server to talk to
└── ClientError        a model does not answer
    └── TextError      a model refused one text; `code` is one of the wire's error codes
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


class ClientError(BertserveError):
    """A model does not answer."""


class TextError(ClientError):
    """A model refused a request or one text of it; `fields` are those of the wire's error object."""

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = fields

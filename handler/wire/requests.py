"""Requests of no protocol in particular: TorchServe's own, and those that are wrong as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RequestError
from ..values import Request
from .open_inference import RefusedInfer
from .rows import Row


@dataclass(frozen=True, slots=True)
class Describe:
    """TorchServe asks what is loaded, for `GET /models/NAME?customized=true`."""

    texts: tuple[()] = ()

    def answer(self, _: object, description: Mapping[str, Any]) -> tuple[int, Any]:
        """What is loaded."""
        return 200, description


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is wrong as a whole."""

    error: RequestError
    texts: tuple[()] = ()

    def answer(self, _: object, __: object) -> tuple[int, Any]:
        """Its error."""
        return self.error.status, self.error.as_json()


def refuse(row: Row, error: RequestError) -> Request:
    """What stands for a row that is wrong as a whole, in the protocol that it came in."""
    return RefusedInfer(error) if row.is_open_inference else Refused(error)

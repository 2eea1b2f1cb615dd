"""What a client can ask of a server, and what carries it there: by HTTP or gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .keys import Kind

_MODELS_PER_PAGE = 1000


@dataclass(frozen=True)
class Predict:
    """Classify: the bytes of a native request, for one version or, where it is None, the default."""

    model: str
    version: str | None
    body: bytes
    kind: Kind = "inference"


@dataclass(frozen=True)
class Describe:
    """Describe a model's default version, one version, or "all"; `customized` asks its handler too."""

    model: str
    version: str | None = None
    customized: bool = False
    kind: Kind = "management"


@dataclass(frozen=True)
class ListModels:
    """Name the models, a page at a time."""

    page_token: int = 0
    limit: int = _MODELS_PER_PAGE
    kind: Kind = "management"


Operation = Predict | Describe | ListModels


class Transport(Protocol):
    """Carries operations, by HTTP or gRPC."""

    async def send(self, operation: Operation, key: str | None, timeout: float) -> bytes:
        """The JSON of the answer; a ClientError where there is none."""

    async def close(self) -> None:
        """Close the connections."""

"""The document of a model of a running server.

served(find(), "support")["paths"]
"""

from __future__ import annotations

from typing import Any

from ..serving import Server
from ..versions import Versions
from .documents import document


def served(server: Server, name: str, version: str | None = None) -> dict[str, Any]:
    """Of one version of a model, by default the default one; ModelNotFound where there is none."""
    model = Versions(server).one(name, version)
    with server.client(name, version=model.version) as client:
        described = client.describe()
    return document(
        described,
        url=server.addresses.inference,
        is_default=model.default,
        has_tokens=server.addresses.tokens,
    )

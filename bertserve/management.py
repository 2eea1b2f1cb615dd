"""What TorchServe says of its models, over its management API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from .errors import ServerError
from .keys import bearer

_TIMEOUT = 30.0


class Management:
    """The read side of the management API at `url`; `key` gives the management key, or None.

    with server.management() as management:
        management.models()
    """

    def __init__(self, url: str, key: Callable[[], str | None]) -> None:
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT)
        self._key = key

    def __enter__(self) -> Management:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """Every version of every model: name, version, default, state, workers (ready and wanted)."""
        return [version for name in self.names() for version in self._versions(name)]

    def names(self) -> list[str]:
        """The models' names."""
        listed = self._get("/models", params={"limit": 1000})["models"]
        return [model["modelName"] for model in listed]

    def describe(self, name: str, version: str | None = None) -> dict[str, Any]:
        """What the handler says of itself; it needs a free worker."""
        path = f"/models/{name}/{version}" if version else f"/models/{name}"
        described = self._get(path, params={"customized": "true"})[0]
        return dict(described.get("customizedMetadata") or {})

    def _versions(self, name: str) -> list[dict[str, Any]]:
        default = self._get(f"/models/{name}")[0]["modelVersion"]
        return [
            {
                "name": name,
                "version": version["modelVersion"],
                "default": version["modelVersion"] == default,
                "state": "READY" if _ready(version) >= version["minWorkers"] else "LOADING",
                "workers": [
                    {"id": worker["id"], "pid": worker["pid"], "status": worker["status"]}
                    for worker in version["workers"]
                ],
                "ready": _ready(version),
                "wanted": version["minWorkers"],
            }
            for version in self._get(f"/models/{name}/all")
        ]

    def _get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        try:
            response = self._http.get(path, params=params, headers=bearer(self._key()))
        except httpx.HTTPError as error:
            raise ServerError(
                f"TorchServe does not answer at {self._http.base_url} ({type(error).__name__}); "
                "look at `bertserve status`"
            ) from error
        if response.status_code != 200:
            raise ServerError(f"TorchServe refuses {path}: {refusal(response)}")
        return response.json()


def _ready(version: dict[str, Any]) -> int:
    return sum(worker["status"] == "READY" for worker in version["workers"])


def refusal(response: httpx.Response) -> str:
    """TorchServe's own words for a refusal, with the status."""
    try:
        return f"{response.json()['message']} ({response.status_code})"
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"

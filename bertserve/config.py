"""Where a server listens, from its `config.properties`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ts.model_server import load_properties

from .errors import ConfigError

PACKAGED = Path(__file__).parent / "config.properties"
_METRICS_CONFIG = Path(__file__).parent / "metrics.yaml"

_ADDRESSES = {
    "inference_address": "http://127.0.0.1:8080",
    "management_address": "http://127.0.0.1:8081",
    "metrics_address": "http://127.0.0.1:8082",
    "supervisor_address": "http://127.0.0.1:8083",
}
_GRPC = {
    "grpc_inference": ("127.0.0.1", "7070"),
    "grpc_management": ("127.0.0.1", "7071"),
}


@dataclass(frozen=True)
class Config:
    """What our tools need to know of a `config.properties`; addresses are as a client reaches them.

    `inference`, `management`, `metrics` and `supervisor` are URLs, `grpc_inference` and
    `grpc_management` host:port. `supervisor_fixed` is whether the file names that address.
    """

    path: str
    inference: str
    management: str
    metrics: str
    supervisor: str
    supervisor_fixed: bool
    grpc_inference: str
    grpc_management: str
    model_store: str | None
    metrics_config: str | None
    tokens: bool

    def ports(self) -> dict[str, tuple[str, int]]:
        """Setting → host and port that the server will bind, for each of its listeners."""
        return {
            "inference_address": _split(self.inference),
            "management_address": _split(self.management),
            "metrics_address": _split(self.metrics),
            "supervisor_address": _split(self.supervisor),
            "grpc_inference_port": _split(f"//{self.grpc_inference}"),
            "grpc_management_port": _split(f"//{self.grpc_management}"),
        }


def read_config(path: Path) -> Config:
    """Read a `config.properties`; ConfigError says what is wrong with it."""
    try:
        properties = load_properties(str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); name another with --config") from error
    urls = {key: _url(path, key, properties.get(key, usual)) for key, usual in _ADDRESSES.items()}
    grpc = {name: _host_port(path, name, properties, *usual) for name, usual in _GRPC.items()}
    return Config(
        path=str(path.resolve()),
        inference=urls["inference_address"],
        management=urls["management_address"],
        metrics=urls["metrics_address"],
        supervisor=urls["supervisor_address"],
        supervisor_fixed="supervisor_address" in properties,
        **grpc,
        model_store=properties.get("model_store") or None,
        metrics_config=properties.get("metrics_config") or None,
        tokens=properties.get("disable_token_authorization", "false").lower() != "true",
    )


def usual_config() -> Path:
    """`./config.properties` where there is one, else the one that comes with the package."""
    here = Path("config.properties")
    return here if here.exists() else PACKAGED


def _url(path: Path, key: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(value):
        raise ConfigError(
            f"{path}: {key} is {value!r}; write it as http://HOST:PORT, on a line without a comment"
        )
    return f"{parts.scheme}://{_reachable(parts.hostname)}:{parts.port}"


def _host_port(path: Path, name: str, properties: dict[str, str], host: str, port: str) -> str:
    host = properties.get(f"{name}_address", host)
    port = properties.get(f"{name}_port", port)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{path}: {name}_port is {port!r}; write a port number, 1 to 65535")
    return f"{_reachable(host)}:{port}"


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return False


def _reachable(host: str) -> str:
    """A server that binds every interface is reached over loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _split(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def complete(config: Config, directory: Path) -> Path:
    """A copy of config.properties that names our metrics.yaml, which it cannot know the place of."""
    if config.metrics_config:
        return Path(config.path)
    complete = directory / "config.properties"
    metrics = _as_property(str(_METRICS_CONFIG.resolve()))
    own = f"\nmetrics_config={metrics}\n".encode("ascii")
    complete.write_bytes(Path(config.path).read_bytes() + own)
    return complete


def _as_property(text: str) -> str:
    """As Java reads a value, which takes a file of properties for Latin-1."""
    units = text.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(
        chr(code) if code < 128 and code != ord("\\") else f"\\u{code:04x}" for code in codes
    )

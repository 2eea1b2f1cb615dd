"""Where a server listens, from its `config.properties`, and whether TorchServe can read that at all.

What TorchServe gets is a copy (`complete`) of what was read here, so that both mean the same: environment
variables that it would take are in it already, and what would break the handler is not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import ConfigError
from .properties import parse_properties, write_properties
from .torchserve_settings import check_values, environment_of

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
# TorchServe's own: each is for a protocol that the handler reads by itself
_ENVELOPES = ("body", "json", "kserve", "kservev2")
_HOST = re.compile(r"[A-Za-z0-9._-]+")  # a name, or an IPv4 address
_VARIABLE = re.compile(r"\$\$([^$]+)\$\$")


@dataclass(frozen=True)
class Config:
    """What our tools need to know of a `config.properties`; addresses are as a client reaches them.

    `inference`, `management`, `metrics` and `supervisor` are URLs, `grpc_inference` and
    `grpc_management` host:port. `supervisor_host` is what the supervisor binds, and `supervisor_fixed`
    whether the file names its address. `envelope` is the service_envelope that is left out, since it
    would fail every batch of the handler's.
    """

    path: str
    inference: str
    management: str
    metrics: str
    grpc_inference: str
    grpc_management: str
    model_store: str | None
    metrics_config: str | None
    tokens: bool
    envelope: str | None = None
    supervisor: str = ""  # of a server that was started before there was one
    supervisor_host: str = ""
    supervisor_fixed: bool = False

    def ports(self) -> dict[str, tuple[str, int]]:
        """Setting → host and port that the server will bind, for each of its listeners."""
        return {
            "inference_address": _split(self.inference),
            "management_address": _split(self.management),
            "metrics_address": _split(self.metrics),
            "supervisor_address": (self.supervisor_host, _split(self.supervisor)[1]),
            "grpc_inference_port": _split(f"//{self.grpc_inference}"),
            "grpc_management_port": _split(f"//{self.grpc_management}"),
        }


def read_config(path: Path) -> Config:
    """Read a `config.properties`; ConfigError says what is wrong with it."""
    properties = _read(path)
    check_values(path, properties)
    urls = {key: _url(path, key, properties.get(key, usual)) for key, usual in _ADDRESSES.items()}
    supervisor = properties.get("supervisor_address", _ADDRESSES["supervisor_address"])
    if not supervisor.startswith("http://"):
        raise ConfigError(
            f"{path}: supervisor_address is {supervisor!r}; write it as http://HOST:PORT, for the "
            "supervisor has no TLS"
        )
    grpc = {name: _host_port(path, name, properties, *usual) for name, usual in _GRPC.items()}
    return Config(
        path=str(location(path)),
        inference=urls["inference_address"],
        management=urls["management_address"],
        metrics=urls["metrics_address"],
        supervisor=urls["supervisor_address"],
        supervisor_host=urlsplit(supervisor).hostname or "",
        supervisor_fixed="supervisor_address" in properties,
        **grpc,
        model_store=properties.get("model_store") or None,
        metrics_config=properties.get("metrics_config") or None,
        tokens=properties.get("disable_token_authorization", "false").lower() != "true",
        envelope=_envelope(path, properties),
    )


def location(path: Path) -> Path:
    """Where a configuration lies, by which its server is known: links are followed.

    Not those that Kubernetes turns whenever a ConfigMap changes, which lead into a folder with a time in
    its name: the server stays the same.
    """
    followed = path.resolve()
    if any(part.startswith("..") for part in followed.parts):
        return path.parent.resolve() / path.name
    return followed


def usual_config() -> Path:
    """`./config.properties` where there is one, else the one that comes with the package."""
    here = Path("config.properties")
    return here if here.exists() else PACKAGED


def complete(config: Config, directory: Path) -> Path:
    """A copy of config.properties for TorchServe; it names our metrics.yaml where no other is named."""
    properties = _read(Path(config.path))
    properties["metrics_config"] = config.metrics_config or str(_METRICS_CONFIG.resolve())
    properties.pop("service_envelope", None)
    # what they say is in the file by now
    properties["enable_envvars_config"] = "false"
    complete = directory / "config.properties"
    complete.write_bytes(write_properties(properties))
    return complete


def _read(path: Path) -> dict[str, str]:
    """What holds: the file, with what it takes from the environment."""
    try:
        properties = parse_properties(path.read_bytes())
    except UnicodeDecodeError:
        raise ConfigError(
            f"{path} cannot be read as UTF-8; save it in that encoding, or name another with --config"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"{path} cannot be read ({reason}); name another with --config"
        ) from error
    properties = {
        key: _VARIABLE.sub(lambda match: _variable(path, match[1]), value)
        for key, value in properties.items()
    }
    if properties.get("enable_envvars_config", "").lower() == "true":
        properties |= environment_of(properties)
    return properties


def _variable(path: Path, name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigError(
            f"{path} takes a value from the environment variable {name}, which is not set; set it, "
            f"or write the value in place of $${name}$$"
        ) from None


def _envelope(path: Path, properties: Mapping[str, str]) -> str | None:
    named = properties.get("service_envelope") or None
    if named not in (None, *_ENVELOPES):
        raise ConfigError(
            f"service_envelope is {named!r} in {path}, or in the environment: code that takes requests "
            "apart, row by row, before the handler, which reads every protocol itself; take it out"
        )
    return named


def _url(path: Path, key: str, value: str) -> str:
    parts = urlsplit(value) if "://" in value and _is_url(value) else None
    if not parts or not parts.hostname or parts.port is None or parts.path not in ("", "/"):
        raise ConfigError(
            f"{path}: {key} is {value!r}; write it as http://HOST:PORT, on a line without a comment"
        )
    if ":" in parts.hostname or parts.path:
        what = "an IPv6 address" if ":" in parts.hostname else "a slash at the end"
        raise ConfigError(
            f"{path}: {key} is {value!r}, and TorchServe cannot read {what} there; write it as "
            f"http://HOST:PORT, with a name or an IPv4 address, 0.0.0.0 for all of them"
        )
    return f"{parts.scheme}://{_reachable(parts.hostname)}:{parts.port}"


def _host_port(path: Path, name: str, properties: Mapping[str, str], host: str, port: str) -> str:
    given = properties.get(f"{name}_address", host)
    host = given.strip("[]")  # Java takes IPv6 with and without
    if not _HOST.fullmatch(host) and not _is_ipv6(host):
        raise ConfigError(
            f"{path}: {name}_address is {given!r}; write an address or a name alone, the port is "
            f"{name}_port"
        )
    return f"{_reachable(host)}:{properties.get(f'{name}_port', port)}"


def _is_ipv6(host: str) -> bool:
    try:
        return bool(IPv6Address(host))
    except ValueError:
        return False


def _is_url(value: str) -> bool:
    """Whether it has a scheme that TorchServe speaks, and a port that it can bind."""
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and 0 < (parts.port or 0) < 65535
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

"""What nginx reads: nginx.conf of deploy/nginx as it is, and its includes for this place.

Behind it is one server, which asks for its own key. What a site's copy limits is not limited here: all
requests come from the balancer in front, and a full queue answers by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..serving import Config

_SHARED = Path(__file__).parent / "nginx.conf"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_HOST = re.compile(r"(\*?\.)?[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]")
_NGINX_S_OWN = ("default", "hostnames", "include", "volatile")  # words of a map
TLS = (
    "tls.crt",
    "tls.key",
)  # the certificate with its chain, and its key, as Kubernetes names them
_TEMPORARY = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")


@dataclass(frozen=True)
class Place:
    """Where a proxy stands: what stays as it is while it runs.

    config       the server's config.properties
    tokens       the folder of the callers' tokens
    http, grpc   HOST:PORT to listen at
    tls          a folder with tls.crt and tls.key; plain HTTP and h2c where there is none
    hosts        names that callers know it by; any name where there are none
    """

    config: Path
    tokens: Path
    http: str = "0.0.0.0:8000"
    grpc: str = "0.0.0.0:9000"
    tls: Path | None = None
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in ("http", "grpc"):
            if not _ADDRESS.fullmatch(given := getattr(self, option)):
                raise ConfigError(
                    f"--{option} is {given!r}; write it as HOST:PORT, like 0.0.0.0:8000"
                )
        for host in self.hosts:
            if not _HOST.fullmatch(host) or host in _NGINX_S_OWN:
                raise ConfigError(
                    f"--host is {host!r}; write a name or an address without a port, like "
                    "models.example.com, or .example.com for all names below"
                )


def render(
    place: Place, folder: Path, addresses: Config, tokens: Mapping[str, str], key: str | None
) -> dict[str, str]:
    """Name → content of each file of nginx's configuration in a folder, without those of TLS.

    tokens   token → name of the caller
    key      what the server wants to see; "" where it asks for none, None where none is known: requests
             are answered with 502 then, for with a wrong one the caller would seem to be at fault
    """
    inference, grpc, supervisor = _upstreams(addresses)
    down = " down" if key is None else ""
    return {
        "nginx.conf": _SHARED.read_text(encoding="utf-8"),
        # one is faster than a server; of several, one that is told later to end takes connections that
        # another has closed
        "process.conf": f"""\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr emerg;
""",
        "listen.conf": _listen(place),
        "site.conf": f"""\
access_log /dev/stdout json;
{_lines(f"{each}_temp_path {folder}/{each};" for each in _TEMPORARY)}
map_hash_bucket_size 256;
map $http_authorization $caller {{
    default "";
{_lines(f'    "Bearer {token}" {name};' for token, name in tokens.items())}
}}
map $host $known {{
    default "{"" if place.hosts else 1}";
    hostnames;
{_lines(f"    {host} 1;" for host in place.hosts)}
}}
map "" $authorization {{
    default "{f"Bearer {key}" if key else ""}";
}}
map "" $canary {{
    default "";
}}
upstream torchserve {{
    server {inference} max_fails=0{down};
    keepalive 64;
}}
upstream torchserve_grpc {{
    server {grpc} max_fails=0{down};
    keepalive 64;
}}
upstream supervisors {{
    server {supervisor} max_fails=0;
}}
""",
    }


def _listen(place: Place) -> str:
    # nginx before 1.25 cannot speak both versions of HTTP at one port without TLS
    if place.tls is None:
        return f"listen {place.http};\nlisten {place.grpc} http2;\n"
    certificate, key = TLS
    return f"""\
listen {place.http} ssl http2;
listen {place.grpc} ssl http2;
ssl_certificate {certificate};
ssl_certificate_key {key};
"""


def _upstreams(addresses: Config) -> tuple[str, str, str]:
    scheme, _, inference = addresses.inference.partition("://")
    if scheme != "http":
        raise ConfigError(
            f"{addresses.path}: inference_address is {addresses.inference!r}; the proxy has the TLS, and "
            "speaks plain HTTP with the server beside it: write http:// and an address of loopback"
        )
    found = inference, addresses.grpc_inference, addresses.supervisor.partition("://")[2]
    for address in found:
        if not _ADDRESS.fullmatch(address):
            raise ConfigError(f"{addresses.path}: nginx cannot take the address {address!r}")
    return found


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)

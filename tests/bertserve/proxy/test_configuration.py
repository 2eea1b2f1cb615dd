from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from bertserve.errors import ConfigError
from bertserve.proxy.configuration import Place, render
from bertserve.proxy.nginx import Nginx
from bertserve.serving import Config, read_config
from proxied import NGINX
from serving import free_ports, write_config

TOKENS = {"b" * 200: "shop", "abc-._~+/==": "default"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return read_config(write_config(tmp_path))


def place(folder: Path, **changes: Any) -> Place:
    http, grpc = (f"127.0.0.1:{port}" for port in free_ports(2))
    return replace(Place(folder / "config.properties", folder, http, grpc), **changes)


@pytest.mark.skipif(NGINX is None, reason="nginx is missing; `scripts/tools nginx` installs it")
@pytest.mark.parametrize("key", ["i-key_9", "", None])
@pytest.mark.parametrize("tokens", [TOKENS, {}], ids=len)
@pytest.mark.parametrize("hosts", [(), ("localhost", ".example.com", "*.a.test", "10.0.0.1")])
def test_nginx_takes_it(
    key: str | None,
    tokens: dict[str, str],
    hosts: tuple[str, ...],
    config: Config,
    tmp_path: Path,
) -> None:
    nginx = Nginx(tmp_path)
    nginx.write(render(place(tmp_path, hosts=hosts), tmp_path, config, tokens, key))
    assert nginx.refusal() is None


@pytest.mark.skipif(NGINX is None, reason="nginx is missing; `scripts/tools nginx` installs it")
def test_nginx_takes_a_certificate_and_says_what_is_wrong_with_one(
    config: Config, tmp_path: Path
) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    nginx = Nginx(tmp_path)
    nginx.write(render(place(tmp_path, tls=tmp_path), tmp_path, config, TOKENS, "i-key"))
    assert nginx.refusal() is None
    (tmp_path / "tls.key").write_text("no key")
    assert "tls.key" in (nginx.refusal() or "")


def test_without_a_key_no_request_reaches_the_server(config: Config, tmp_path: Path) -> None:
    for key, is_down in (("i-key", False), ("", False), (None, True)):
        site = render(place(tmp_path), tmp_path, config, TOKENS, key)["site.conf"]
        for address in (config.inference.removeprefix("http://"), config.grpc_inference):
            assert (f"server {address} max_fails=0 down;" in site) == is_down
        assert f"server {config.supervisor.removeprefix('http://')} max_fails=0;" in site


@pytest.mark.parametrize("address", ["8000", "0.0.0.0", "a b:1", "127.0.0.1:80;", "http://a:1", ""])
def test_an_address_that_is_none_is_a_sentence(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--grpc is .*; write it as HOST:PORT"):
        place(tmp_path, grpc=address)


@pytest.mark.parametrize("host", ["a b", "a;", "default", "include", "a:80", "~.*", "", '"', "$x"])
def test_a_host_that_is_none_is_a_sentence(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--host is .*; write a name or an address"):
        place(tmp_path, hosts=(host,))


def test_a_server_with_tls_of_its_own_is_refused(config: Config, tmp_path: Path) -> None:
    encrypted = replace(config, inference="https://127.0.0.1:8443")
    with pytest.raises(ConfigError, match="speaks plain HTTP with the server beside it"):
        render(place(tmp_path), tmp_path, encrypted, TOKENS, "")

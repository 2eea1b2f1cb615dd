from __future__ import annotations

from pathlib import Path

import pytest

from bertserve.errors import ConfigError
from bertserve.serving.config import torchserve_settings as settings
from bertserve.serving.config.torchserve_settings import check_values, environment_of

FILE = Path("config.properties")


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        *((key, value, "whole number") for key in sorted(settings._NUMBERS)
          for value in ("", "2GB", "1e6", "-1", "1.5", "0x10", "9" * 19, "many", "1 # one", "١")),
        *((key, value, "true or false") for key in settings._SWITCHES
          for value in ("", "yes", "1", "on", "true # why")),
        ("max_request_size", "0", "whole number of bytes, 1 to 2147483647"),
        ("max_response_size", str(2**31), "whole number of bytes"),
        ("grpc_inference_port", "65535", "1 to 65534"),
        ("io_ratio", "101", "1 to 100"),
        ("metrics_mode", "statsd", "one of log, prometheus, legacy"),
        ("token_expiration_min", "soon", "a number of minutes"),
        ("token_expiration_min", "-1", "a number of minutes"),
        ("blacklist_env_vars", "*", "a regular expression"),
        ("allowed_urls", "^$,(", "a regular expression"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(key: str, value: str, wanted: str) -> None:
    if key.endswith("_ms") and value == "9" * 19:
        value += "9"
    with pytest.raises(ConfigError, match=f"config.properties: {key} is .*{wanted}"):
        check_values(FILE, {key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_request_size", "6553500"),
        ("job_queue_size", "+100"),
        ("number_of_gpu", "0"),
        ("grpc_inference_max_connection_age_ms", str(2**63 - 1)),
        ("token_expiration_min", "0.1"),
        ("enable_model_api", "TRUE"),
        ("metrics_mode", "Prometheus"),
        ("allowed_urls", r"https://models\.example/.*,file:///srv/.*"),
        ("blacklist_env_vars", r".*[a-z&&[^x]]\p{Alpha}++"),  # Java's alone
        ("some_setting_of_the_future", "anything"),
        ("vmargs", "-Xmx2g # not ours to judge"),
    ],
)
def test_what_it_reads_passes(key: str, value: str) -> None:
    check_values(FILE, {key: value})


def test_the_environment_is_read_as_torchserve_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TS_SERVICE_ENVELOPE": "json", "TS_MAX_REQUEST_SIZE": "2GB", "TS_ALLOWED_URLS": ".*",
        "TS_OPEN_INFERENCE_PROTOCOL": "oip", "TS_TOKEN_EXPIRATION_TIME_MIN": "5",
        "TS_ENABLE_ENVVARS_CONFIG": "true", "TS_NOBODY_KNOWS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    found = environment_of({})
    assert found["service_envelope"] == "json"
    assert found["max_request_size"] == "2GB"
    assert found["ts_open_inference_protocol"] == "true"
    assert found["token_expiration_min"] == "5"
    assert not {"allowed_urls", "enable_envvars_config", "nobody_knows"} & found.keys()
    assert environment_of({"use_env_allowed_urls": "true"})["allowed_urls"] == ".*"

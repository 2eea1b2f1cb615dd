"""The settings of a config.properties that TorchServe reads as numbers, switches or patterns.

Of one that it cannot read it says nothing useful: it ends with an exception of something else, or takes
`yes` for false.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from ...errors import ConfigError

_INT, _LONG, _PORT = 2**31 - 1, 2**63 - 1, 65534

# whole numbers: the least and the largest
_NUMBERS = {
    **dict.fromkeys(("max_request_size", "max_response_size", "job_queue_size"), (1, _INT)),
    **dict.fromkeys(
        (
            "default_response_timeout",
            "default_startup_timeout",
            "unregister_model_timeout",
            "metric_time_interval",
        ),
        (1, _INT),
    ),
    **dict.fromkeys(
        (
            "default_workers_per_model",
            "number_of_gpu",
            "number_of_netty_threads",
            "netty_client_threads",
        ),
        (0, _INT),
    ),
    "io_ratio": (1, 100),
    **dict.fromkeys(
        (
            "grpc_inference_port",
            "grpc_management_port",
            "initial_worker_port",
            "initial_distribution_port",
        ),
        (1, _PORT),
    ),
    **{
        f"grpc_{which}_max_connection_age{grace}_ms": (1, _LONG)
        for which in ("inference", "management")
        for grace in ("", "_grace")
    },
}
_SWITCHES = (
    "async_logging", "cpu_launcher_enable", "debug", "decode_input_request", "disable_system_metrics",
    "disable_token_authorization", "enable_envvars_config", "enable_grpc_ssl", "enable_metrics_api",
    "enable_model_api", "install_py_dep_per_model", "ipex_enable", "ipex_gpu_enable",
    "limit_max_image_pixels", "model_metrics_auto_detect", "prefer_direct_buffer",
    "ts_open_inference_protocol", "use_env_allowed_urls", "use_native_io",
)  # fmt: skip
_MODES = ("log", "prometheus", "legacy")
_PATTERNS = ("allowed_urls", "blacklist_env_vars")
# what is wrong in Java's patterns as well; the other errors of Python's are none there
_NO_PATTERN = re.compile(r"nothing to repeat|missing \)|unbalanced parenthesis|unterminated char")

# the other settings that environment variables can give; the variable of KEY is TS_KEY, but for these
_OTHERS = (
    "inference_address", "management_address", "metrics_address", "load_models", "metrics_config",
    "metrics_mode", "cpu_launcher_args", "cors_allowed_origin", "cors_allowed_methods",
    "cors_allowed_headers", "keystore", "keystore_pass", "keystore_type", "certificate_file",
    "private_key_file", "default_service_handler", "service_envelope", "model_server_home",
    "model_store", "grpc_inference_address", "grpc_management_address", "workflow_store",
    "cpp_log_config", "token_expiration_min", "ts_header_key_sequence_id",
    "ts_header_key_sequence_start", "ts_header_key_sequence_end",
)  # fmt: skip
_NOT_FROM_ENVIRONMENT = (
    "io_ratio", "metric_time_interval", "enable_envvars_config", "use_env_allowed_urls", "use_native_io",
)  # fmt: skip
_VARIABLES = {
    "ts_open_inference_protocol": "TS_OPEN_INFERENCE_PROTOCOL",
    "token_expiration_min": "TS_TOKEN_EXPIRATION_TIME_MIN",
    "ts_header_key_sequence_id": "TS_HEADER_KEY_SEQUENCE_ID",
    "ts_header_key_sequence_start": "TS_HEADER_KEY_SEQUENCE_START",
    "ts_header_key_sequence_end": "TS_HEADER_KEY_SEQUENCE_END",
}


def check_values(path: Path, properties: Mapping[str, str]) -> None:
    """ConfigError names the first setting that TorchServe cannot read, and what it could."""
    for key, value in properties.items():
        if wanted := _wanted(key, value):
            raise ConfigError(
                f"{path}: {key} is {value!r}, which TorchServe cannot read; write {wanted}, "
                "on a line without a comment"
            )


def environment_of(properties: Mapping[str, str]) -> dict[str, str]:
    """Settings that TorchServe takes from the environment where enable_envvars_config is true."""
    keys: Iterable[str] = {*_NUMBERS, *_SWITCHES, *_PATTERNS, *_OTHERS} - {*_NOT_FROM_ENVIRONMENT}
    found = {
        key: os.environ[variable]
        for key in sorted(keys)
        if (variable := _VARIABLES.get(key, f"TS_{key.upper()}")) in os.environ
    }
    if properties.get("use_env_allowed_urls", "").lower() != "true":
        found.pop("allowed_urls", None)
    if found.get("ts_open_inference_protocol") == "oip":  # the variable has a value of its own
        found["ts_open_inference_protocol"] = "true"
    return found


def _wanted(key: str, value: str) -> str | None:
    """What a setting must be, where it is not so."""
    if key in _NUMBERS:
        low, high = _NUMBERS[key]
        unit = " of bytes" if key.endswith("_size") and key.startswith("max") else ""
        if not (re.fullmatch(r"\+?[0-9]{1,19}", value) and low <= int(value) <= high):
            return f"a whole number{unit}, {low} to {high}"
    if key in _SWITCHES and value.lower() not in ("true", "false"):
        return "true or false"
    if key == "metrics_mode" and value.lower() not in _MODES:
        return f"one of {', '.join(_MODES)}"
    if key == "token_expiration_min" and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", value):
        return "a number of minutes"
    return "a regular expression" if key in _PATTERNS and not _is_pattern(key, value) else None


def _is_pattern(key: str, value: str) -> bool:
    for each in value.split(",") if key == "allowed_urls" else [value]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what Python may read otherwise one day
                re.compile(each)
        except re.error as error:
            if _NO_PATTERN.match(error.msg):
                return False
    return True

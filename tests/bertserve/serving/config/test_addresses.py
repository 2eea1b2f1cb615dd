from pathlib import Path

import pytest

from bertserve.errors import ConfigError
from bertserve.serving.config import PACKAGED, complete, location, read_config, usual_config
from bertserve.serving.config.properties import parse_properties, write_properties

ROOT = Path(__file__).parents[4]


def write(folder: Path, *lines: str) -> Path:
    path = folder / "config.properties"
    path.write_text("\n".join(lines))
    return path


def test_an_empty_file_gives_torchserve_s_own_addresses(tmp_path: Path) -> None:
    config = read_config(write(tmp_path))
    assert config.inference == "http://127.0.0.1:8080"
    assert config.grpc_management == "127.0.0.1:7071"
    assert config.tokens is True
    assert config.model_store is None


def test_addresses_are_those_that_a_client_reaches(tmp_path: Path) -> None:
    config = read_config(
        write(
            tmp_path,
            "inference_address=https://0.0.0.0:9000",
            "management_address = http://localhost:9001",
            "metrics_address=http://0.0.0.0:9002",
            "grpc_inference_address=0.0.0.0",
            "grpc_inference_port=9003",
            "disable_token_authorization=true",
            "model_store=/srv/models",
        )
    )
    assert config.inference == "https://127.0.0.1:9000"
    assert config.management == "http://localhost:9001"
    assert config.metrics == "http://127.0.0.1:9002"
    assert config.grpc_inference == "127.0.0.1:9003"
    assert config.tokens is False
    assert config.model_store == "/srv/models"
    assert config.ports()["metrics_address"] == ("127.0.0.1", 9002)


@pytest.mark.parametrize(
    "line",
    [
        "inference_address=127.0.0.1:8080",
        "inference_address=http://127.0.0.1",
        "inference_address=http://127.0.0.1:8080 # a comment",
        "inference_address=unix:/tmp/x",
        "grpc_inference_port=many",
        "grpc_inference_port=70000",
    ],
)
def test_an_address_that_is_wrong_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=line.split("=")[0]):
        read_config(write(tmp_path, line))


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read .*--config"):
        read_config(tmp_path / "missing.properties")


def test_a_configuration_is_known_by_where_it_lies(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "link").symlink_to("config.properties")
    assert location(tmp_path / "link") == tmp_path / "config.properties"
    assert read_config(tmp_path / "link").path == f"{tmp_path}/config.properties"


def test_a_mounted_config_map_stays_the_same_one_when_it_changes(tmp_path: Path) -> None:
    """As Kubernetes lays it out, and as it changes it: one link is turned."""
    for time in ("..2026_11_27", "..2026_11_28"):
        (tmp_path / time).mkdir()
        write(tmp_path / time)
        (tmp_path / "..data").unlink(missing_ok=True)
        (tmp_path / "..data").symlink_to(time)
        path = tmp_path / "config.properties"
        if not path.is_symlink():
            path.symlink_to("..data/config.properties")
        assert location(path) == path
        assert read_config(path).path == str(path)


def test_the_usual_one_is_that_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert usual_config() == PACKAGED
    write(tmp_path)
    assert usual_config().resolve() == tmp_path / "config.properties"


def test_ours_is_hardened_and_every_line_is_explained() -> None:
    lines = (ROOT / "config.properties").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    config = read_config(ROOT / "config.properties")
    assert all(host == "127.0.0.1" for host, _ in config.ports().values())
    assert config.tokens
    assert settings["enable_model_api"] == "true"
    assert settings["allowed_urls"] == "^$"
    assert settings["install_py_dep_per_model"] == "false"
    assert settings["enable_envvars_config"] == "false"
    for paragraph in "\n".join(lines).strip().split("\n\n"):
        assert paragraph.startswith("#"), f"nothing explains {paragraph}"


def test_a_path_is_written_as_java_reads_properties() -> None:
    written = write_properties({"k": "/home/jürgen/\\🙂"})
    assert written == b"k=/home/j\\u00fcrgen/\\\\\\ud83d\\ude42\n"
    assert parse_properties(written) == {"k": "/home/jürgen/\\🙂"}


@pytest.mark.parametrize(
    "line",
    [
        "max_request_size=2GB",
        "enable_model_api=yes",
        "job_queue_size=0",
        "inference_address=http://[::1]:8080",
        "blacklist_env_vars=*",
        "metrics_mode=foo",
        "service_envelope=mine:Envelope",
        "model_store=$$NOT_SET_ANYWHERE$$",
    ],
)
def test_what_torchserve_cannot_read_is_a_sentence(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"NOT_SET|" + line.split("=")[0]):
        read_config(write(tmp_path, line))


@pytest.mark.parametrize("envelope", ["json", "kserve", "kservev2", "body"])
def test_an_envelope_of_torchserve_s_is_left_out(tmp_path: Path, envelope: str) -> None:
    path = tmp_path / "config.properties"
    path.write_bytes(b"\xef\xbb\xbfservice_envelope=" + envelope.encode() + b"\nio_ratio : 60 \n")
    config = read_config(path)
    assert config.envelope == envelope
    (tmp_path / "state").mkdir()
    written = parse_properties(complete(config, tmp_path / "state").read_bytes())
    assert "service_envelope" not in written
    assert written["io_ratio"] == "60"


def test_variables_of_the_environment_count_where_the_file_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_SERVICE_ENVELOPE", "json")
    assert read_config(write(tmp_path)).envelope is None
    assert read_config(write(tmp_path, "enable_envvars_config=true")).envelope == "json"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8083", "http://127.0.0.1", "http://127.0.0.1:0", "http://127.0.0.1:70000", "8083",
        "http://127.0.0.1:8083 # a comment", "http://127.0.0.1:8083/x", "http://[::1]:8083", "unix:/x",
        "ftp://127.0.0.1:8083", "http://:8083", "http://127.0.0.1:x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["inference", "management", "metrics", "supervisor"])
def test_addresses_are_all_checked(tmp_path: Path, key: str, address: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}_address is .*http://HOST:PORT"):
        read_config(write(tmp_path, f"{key}_address={address}"))


def test_the_supervisor_s_address_is_read_like_the_others(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfsupervisor_address : http://0.0.0.0:9083 \r\n"
    (tmp_path / "config.properties").write_bytes(content)
    config = read_config(tmp_path / "config.properties")
    assert config.supervisor == "http://127.0.0.1:9083"
    assert config.supervisor_fixed
    assert config.ports()["supervisor_address"] == ("0.0.0.0", 9083)


def test_the_supervisor_has_no_tls(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="for the supervisor has no TLS"):
        read_config(write(tmp_path, "supervisor_address=https://127.0.0.1:9083"))


@pytest.mark.parametrize("key", ["grpc_inference", "grpc_management"])
@pytest.mark.parametrize("address", ["http://127.0.0.1", "127.0.0.1:7070", "", "a b", "[::1]:7070"])
def test_addresses_of_grpc_are_checked(tmp_path: Path, key: str, address: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}_address is .*the port is {key}_port"):
        read_config(write(tmp_path, f"{key}_address={address}"))


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", "[::1]", "0.0.0.0", "::"])
def test_addresses_of_grpc_that_torchserve_reads(tmp_path: Path, address: str) -> None:
    read_config(write(tmp_path, f"grpc_inference_address={address}")).ports()


def test_an_envelope_of_the_environment_s_is_refused_like_the_file_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_SERVICE_ENVELOPE", "mine:Envelope")
    assert read_config(write(tmp_path)).envelope is None
    with pytest.raises(ConfigError, match="service_envelope .* or in the environment"):
        read_config(write(tmp_path, "enable_envvars_config=true"))


def test_what_torchserve_gets_takes_nothing_from_the_environment(tmp_path: Path) -> None:
    config = read_config(
        write(tmp_path, "enable_envvars_config=true", "inference_address=http://a:1")
    )
    (tmp_path / "state").mkdir()
    written = parse_properties(complete(config, tmp_path / "state").read_bytes())
    assert written["enable_envvars_config"] == "false"


def test_a_file_of_another_encoding_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    path.write_bytes("model_store=/srv/modèles".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read as UTF-8; save it in that encoding"):
        read_config(path)

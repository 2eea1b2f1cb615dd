from pathlib import Path
from xml.etree import ElementTree

import pytest

from bertserve.logs import LoadFailure, LogTail

WORKER = "2026-01-02T03:04:05,678 [INFO ] W-9000-my_model_1.0-stdout MODEL_LOG - "
CAUGHT = f"""{WORKER}Torch worker started.
{WORKER}Failed to load model my_model, exception model/config.json is damaged
{WORKER}Traceback (most recent call last):
{WORKER}handler.errors.LoadError: model/config.json is damaged
{WORKER}Backend worker process died.
{WORKER}RuntimeError: 500 - Unknown exception
"""
DIED = f"""{WORKER}Traceback (most recent call last):
{WORKER}FileNotFoundError: [Errno 2] No such file
{WORKER}Backend worker process died.
{WORKER}FileNotFoundError: [Errno 2] No such file
"""


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "model_log.log").write_text(f"{WORKER}Failed to load model old, exception old\n")
    (tmp_path / "ts_log.log").write_text("")
    return tmp_path


def test_what_was_logged_before_does_not_count(logs: Path) -> None:
    assert LogTail(logs).load_failure() is None


def test_the_worker_s_reason_is_found(logs: Path) -> None:
    tail = LogTail(logs)
    with (logs / "model_log.log").open("a") as log:
        log.write(CAUGHT)
    assert tail.load_failure() == LoadFailure("my_model 1.0", "model/config.json is damaged")


def test_a_worker_that_died_gives_its_last_exception(logs: Path) -> None:
    tail = LogTail(logs)
    with (logs / "model_log.log").open("a") as log:
        log.write(DIED)
    assert tail.load_failure() == LoadFailure(
        "my_model 1.0", "FileNotFoundError: [Errno 2] No such file"
    )


def test_a_log_that_was_rotated_is_read_from_its_beginning(logs: Path) -> None:
    tail = LogTail(logs)
    (logs / "model_log.log").write_text(CAUGHT[:50])
    (logs / "model_log.log").write_text("")
    assert tail.load_failure() is None


def test_folders_without_logs_have_no_failures(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "missing")
    assert (tail.load_failure(), tail.registration_failure()) == (None, None)


def test_the_reason_of_a_failed_registration_is_found(logs: Path) -> None:
    tail = LogTail(logs)
    (logs / "ts_log.log").write_text(
        "2026 [WARN ] main org.pytorch.serve.ModelServer - Failed to load model: x.mar\n"
        "org.pytorch.serve.archive.model.InvalidModelException: Missing manifest file.\n"
        "\tat org.pytorch.serve…\n"
    )
    assert tail.registration_failure() == (
        "x.mar: org.pytorch.serve.archive.model.InvalidModelException: Missing manifest file."
    )


def test_the_logging_configuration_is_xml() -> None:
    """Log4j goes on without any log if it is not, and no worker's reason is ever found."""
    import bertserve

    configuration = Path(bertserve.__file__).parent / "log4j2.xml"
    assert ElementTree.parse(configuration).getroot().tag == "Configuration"

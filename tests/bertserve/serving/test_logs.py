import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bertserve.serving.logs import LoadFailure, LogTail, cause

CAUGHT = (
    "Torch worker started.",
    "Failed to load model my_model, exception model/config.json is damaged",
    "Traceback (most recent call last):",
    "handler.errors.LoadError: model/config.json is damaged",
    "Backend worker process died.",
    "RuntimeError: 500 - Unknown exception",
)
DIED = (
    "Traceback (most recent call last):",
    "FileNotFoundError: [Errno 2] No such file",
    "Backend worker process died.",
    "FileNotFoundError: [Errno 2] No such file",
)


def printed(*messages: str) -> str:
    """As a worker's output stands in the log."""
    return "".join(
        json.dumps({"thread": "W-9000-my_model_1.0-stdout", "message": message}) + "\n"
        for message in messages
    )


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "model_log.log").write_text(printed("Failed to load model old, exception old"))
    (tmp_path / "ts_log.log").write_text("")
    return tmp_path


def test_what_was_logged_before_does_not_count(logs: Path) -> None:
    assert LogTail(logs).load_failure() is None


def test_the_worker_s_reason_is_found(logs: Path) -> None:
    tail = LogTail(logs)
    with (logs / "model_log.log").open("a") as log:
        log.write(printed(*CAUGHT))
    assert tail.load_failure() == LoadFailure("my_model 1.0", "model/config.json is damaged")


def test_a_worker_that_died_gives_its_last_exception(logs: Path) -> None:
    tail = LogTail(logs)
    with (logs / "model_log.log").open("a") as log:
        log.write(printed(*DIED))
    assert tail.load_failure() == LoadFailure(
        "my_model 1.0", "FileNotFoundError: [Errno 2] No such file"
    )


def test_a_log_that_was_rotated_is_read_from_its_beginning(logs: Path) -> None:
    tail = LogTail(logs)
    (logs / "model_log.log").write_text(printed(*CAUGHT)[:50])
    (logs / "model_log.log").write_text("")
    assert tail.load_failure() is None


def test_folders_without_logs_have_no_failures(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "missing")
    assert (tail.load_failure(), tail.registration_failure()) == (None, None)


def test_the_reason_of_a_failed_registration_is_found(logs: Path) -> None:
    tail = LogTail(logs)
    event = {
        "message": "Failed to load model: x.mar",
        "exception": "org.pytorch.serve.archive.model.InvalidModelException: Missing manifest file."
        "\n\tat org.pytorch.serve…\n",
    }
    (logs / "ts_log.log").write_text(f"{json.dumps(event)}\n{{half a line")
    assert tail.registration_failure() == (
        "x.mar: org.pytorch.serve.archive.model.InvalidModelException: Missing manifest file."
    )


def test_the_logging_configuration_is_xml() -> None:
    """Log4j goes on without any log if it is not, and no worker's reason is ever found."""
    import bertserve

    configuration = Path(bertserve.__file__).parent / "serving" / "log4j2.xml"
    assert ElementTree.parse(configuration).getroot().tag == "Configuration"


# what Java prints where it ends: the cause, and lines of it
STACKS = {
    "Invalid configuration: max_request_size": [
        "WARNING: sun.reflect.Reflection.getCallerClass is not supported",
        "Invalid configuration: max_request_size",
        "usage: com.x [-f <CONFIG-FILE>]",
        'Exception in thread "Thread-1" java.lang.NullPointerException',
        "\tat org.pytorch.serve.ModelServer$1.run(ModelServer.java:101)",
    ],
    'java.lang.NumberFormatException: For input string: "2GB"': [
        'Exception in thread "main" java.lang.ExceptionInInitializerError',
        "\tat org.pytorch.serve.ModelServer.main(ModelServer.java:90)",
        'Caused by: java.lang.NumberFormatException: For input string: "2GB"',
        "\tat java.base/java.lang.Integer.parseInt(Integer.java:652)",
        "\t... 3 more",
    ],
    "java.nio.file.InvalidPathException: Malformed input: st??te": [
        'Exception in thread "main" java.nio.file.InvalidPathException: Malformed input: st??te',
        "\tat java.base/sun.nio.fs.UnixPath.encode(UnixPath.java:121)",
    ],
    "java.io.IOException: No space left on device": [
        " java.io.IOException: No space left on device",
        "\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)",
    ],
    "Unrecognized VM option 'NoSuchFlag'": [
        "Unrecognized VM option 'NoSuchFlag'",
        "Error: Could not create the Java Virtual Machine.",
        "Error: A fatal exception has occurred. Program will exit.",
    ],
    "java.net.BindException: Address already in use": [
        "org.pytorch.serve.http.ServiceUnavailableException",
        "\tat x",
        "Caused by: java.net.BindException: Address already in use",
        "Caused by: java.lang.RuntimeException",
        'java.lang.IllegalStateException: something in consequence',
    ],
    "java not found, please make sure JAVA_HOME is set properly.": [
        "java not found, please make sure JAVA_HOME is set properly.",
    ],
    "something that nobody foresaw": ["", "something that nobody foresaw", "\tat y"],
}  # fmt: skip


@pytest.mark.parametrize("reason", STACKS)
def test_the_cause_is_found_and_not_a_line_of_the_stack(reason: str) -> None:
    assert cause(STACKS[reason]) == reason


@pytest.mark.parametrize("lines", [[], ["", "\tat x", "... 3 more"], ["Removing orphan pid file."]])
def test_what_says_nothing_has_no_cause(lines: list[str]) -> None:
    assert cause(lines) is None


def test_a_cause_that_begins_with_a_blank_is_the_reason_of_a_registration(logs: Path) -> None:
    tail = LogTail(logs)
    event = {
        "message": "Failed to load model: x.mar",
        "exception": " java.io.IOException: No space left on device\n\tat java.base/x\n",
    }
    (logs / "ts_log.log").write_text(json.dumps(event))
    assert tail.registration_failure() == "x.mar: java.io.IOException: No space left on device"

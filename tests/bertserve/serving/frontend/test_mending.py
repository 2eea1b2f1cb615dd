"""The classes of TorchServe's front end that are written once more, and how class files are changed."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest

from bertserve.errors import ServerError
from bertserve.serving.frontend import mend
from bertserve.serving.frontend import mending as frontend
from bertserve.serving.frontend.class_files import ClassFile

SEND = ("response", "([BLjava/lang/CharSequence;ILjava/lang/String;Ljava/util/Map;)V")


@pytest.fixture(scope="module")
def archive() -> Path:
    found = importlib.util.find_spec("ts")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "frontend" / "model-server.jar"


def classes(archive: Path, prefix: str) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as whole:
        return {
            name: whole.read(name)
            for name in whole.namelist()
            if name.startswith(prefix) and name.endswith(".class")
        }


def test_a_class_that_is_not_changed_is_written_as_it_was(archive: Path) -> None:
    found = classes(archive, "org/pytorch/serve/")
    assert len(found) > 100
    for name, content in found.items():
        assert ClassFile(content).content() == content, name


def test_classes_are_mended(archive: Path, tmp_path: Path) -> None:
    mend(tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.class")}
    assert written == {
        f"org/pytorch/serve/{name}.class"
        for name in (
            "job/GRPCJob",
            "job/RestJob",
            "wlm/BatchAggregator",
            "wlm/Model",
            "grpcimpl/InferenceImpl",
        )
    }
    before = classes(archive, "org/pytorch/serve/")
    for name in written:
        content = (tmp_path / name).read_bytes()
        assert content != before[name]
        assert ClassFile(content).content() == content


def test_it_is_made_anew_at_each_start(tmp_path: Path) -> None:
    mend(tmp_path)
    stale = tmp_path / "org" / "pytorch" / "serve" / "Stale.class"
    stale.touch()
    mend(tmp_path)
    assert not stale.exists()


def test_another_release_is_an_error_that_says_what_to_install(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.jar"
    with zipfile.ZipFile(other, "w") as whole:
        for name, content in classes(archive, "org/pytorch/serve/job/").items():
            whole.writestr(name, content.replace(b"sendError", b"sendTrace"))
    monkeypatch.setattr(frontend, "_archive", lambda: other)
    with pytest.raises(ServerError, match=r"sendError.*install torchserve==0\.12\.0"):
        mend(tmp_path)


def test_a_class_file_that_is_cut_off_is_an_error(archive: Path) -> None:
    content = next(iter(classes(archive, "org/pytorch/serve/job/Job.class").values()))
    with pytest.raises(ValueError, match="cut off"):
        ClassFile(content[:-1])


def test_a_method_that_is_not_there_cannot_be_mended(archive: Path) -> None:
    content = next(iter(classes(archive, "org/pytorch/serve/job/GRPCJob.class").values()))
    made = ClassFile(content)
    assert made.name == "org/pytorch/serve/job/GRPCJob"
    made.catch(*SEND, b"\x57\xb1", stack=1)
    with pytest.raises(LookupError, match="answer"):
        made.catch("answer", SEND[1], b"\x57\xb1", stack=1)
    with pytest.raises(LookupError, match="answer"):
        made.rename("answer", "reply")


def test_only_code_that_is_there_once_is_replaced_by_as_much(archive: Path) -> None:
    content = next(iter(classes(archive, "org/pytorch/serve/wlm/Model.class").values()))
    made = ClassFile(content)
    for nowhere in (b"\xfe\xfe", b"\xb0"):
        with pytest.raises(LookupError, match="pollBatch"):
            made.replace("pollBatch", nowhere, nowhere)
    once = b"\x16\x06\x09\x94"
    with pytest.raises(ValueError, match="as long"):
        made.replace("pollBatch", once, once + b"\x00")
    made.replace("pollBatch", once, once[::-1])
    assert ClassFile(made.content()).content() != content

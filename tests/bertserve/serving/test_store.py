import json
import random
import zipfile
from pathlib import Path

import pytest

from bertserve.errors import PackageError, ServerError
from bertserve.serving.store import (
    distrust,
    load_order,
    look_through,
    serving_before,
    stored_archives,
    take_untrusted,
    version_key,
)


def write(store: Path, name: str, version: str, file: str | None = None) -> Path:
    path = store / (file or f"{name}-{version}.mar")
    manifest = {"model": {"modelName": name, "modelVersion": version, "handler": "h.py"}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return path


def test_archives_go_by_their_manifests(tmp_path: Path) -> None:
    write(tmp_path, "support", "1.0", file="renamed.mar")
    (archive,) = stored_archives(tmp_path)
    assert (archive.name, archive.version, archive.path.name) == ("support", "1.0", "renamed.mar")


def test_a_store_without_archives_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="holds no archive; build one with `bertserve package`"):
        stored_archives(tmp_path)


def test_those_that_cannot_be_read_are_told_beside_the_others(tmp_path: Path) -> None:
    write(tmp_path, "support", "1.0")
    (tmp_path / "half-copied.mar").write_bytes(b"PK")
    found, problems = look_through(tmp_path)
    assert [each.path.name for each in found] == ["support-1.0.mar"]
    assert len(problems) == 1
    assert "half-copied.mar" in problems[0]


def test_two_archives_of_one_version_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "support", "1.0")
    write(tmp_path, "support", "1.0", file="again.mar")
    with pytest.raises(ServerError, match="again.mar and support-1.0.mar are both support 1.0"):
        stored_archives(tmp_path)


def test_versions_of_one_model_are_served_under_another_name(tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        write(tmp_path, "support", version)
    archives = stored_archives(tmp_path, "customers")
    assert [(archive.name, archive.version) for archive in archives] == [
        ("customers", "1.0"),
        ("customers", "2.0"),
    ]
    with pytest.raises(PackageError, match="the name 'a b' will not do"):
        stored_archives(tmp_path, "a b")
    write(tmp_path, "films", "1.0")
    with pytest.raises(
        ServerError, match="holds films and support, and only one model can be served"
    ):
        stored_archives(tmp_path, "customers")


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.mar").write_bytes(b"no zip")
    with pytest.raises(PackageError, match=r"broken\.mar is no archive of bertserve"):
        stored_archives(tmp_path)


def order(store: Path, defaults: dict[str, str]) -> list[tuple[str, str]]:
    archives = stored_archives(store)
    random.shuffle(archives)
    return [(archive.name, archive.version) for archive in load_order(archives, defaults)]


def test_the_newest_version_is_loaded_first(tmp_path: Path) -> None:
    for version in ("1.9", "1.10", "1.2"):
        write(tmp_path, "support", version)
    assert order(tmp_path, {})[0] == ("support", "1.10")


def defaults(logs: Path) -> dict[str, str]:
    return {was.name: was.version for was in serving_before(logs) if was.default}


def test_what_was_serving_before_is_loaded_first(tmp_path: Path) -> None:
    for name in ("support", "banking"):
        for version in ("1.0", "2.0"):
            write(tmp_path, name, version)
    loaded = order(tmp_path, {"support": "1.0", "banking": "0.9"})
    assert loaded.index(("support", "1.0")) < loaded.index(("support", "2.0"))
    assert loaded.index(("banking", "2.0")) < loaded.index(("banking", "1.0"))


def test_versions_that_are_no_numbers_come_before_those_that_are() -> None:
    versions = ["2", "main", "1.0rc1", "10", "1.0", "dev"]
    assert sorted(versions, key=version_key) == ["dev", "main", "1.0rc1", "1.0", "2", "10"]


# as TorchServe writes it: a line of a properties file, with its escapes
SNAPSHOT = (
    "inference_address=http\\://127.0.0.1\\:8080\n"
    'model_snapshot={\\n  "name"\\: "x.cfg",\\n  "modelCount"\\: 1, "models"\\: {\\n    "support"\\: {'
    '\\n "1.0"\\: {\\n "defaultVersion"\\: true, "minWorkers"\\: 2 },'
    '\\n "2.0"\\: {\\n "defaultVersion"\\: false, "minWorkers"\\: 1 }}}}\n'
)


def test_the_newest_snapshot_says_what_was_serving(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    for day in (1, 2):
        (tmp_path / "config" / f"2026010{day}-startup.cfg").write_text("model_snapshot={}")
    (tmp_path / "config" / "20260103-shutdown.cfg").write_text(SNAPSHOT)
    assert defaults(tmp_path) == {"support": "1.0"}
    kept = {path.name for path in (tmp_path / "config").iterdir()}
    assert kept == {"20260102-startup.cfg", "20260103-shutdown.cfg"}


def test_a_half_written_snapshot_gives_way_to_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "20260101-startup.cfg").write_text(SNAPSHOT)
    (tmp_path / "config" / "20260102-snapshot.cfg").write_text(SNAPSHOT[:90])
    assert defaults(tmp_path) == {"support": "1.0"}


@pytest.mark.parametrize("content", [None, "", "model_snapshot={", "model_snapshot=[]"])
def test_without_a_readable_snapshot_nothing_was_serving(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "1.cfg").write_text(content)
    assert serving_before(tmp_path) == []


def test_a_version_that_was_never_trusted_is_told_once(tmp_path: Path) -> None:
    distrust(tmp_path, "m", "1.0")
    assert take_untrusted(tmp_path) == {"m": "1.0"}
    assert take_untrusted(tmp_path) == {}
    distrust(tmp_path, "m", "1.0")
    distrust(tmp_path, "m", None)
    assert take_untrusted(tmp_path) == {}

"""Archives are fetched whole, and only the right ones, from real servers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from pyarrow import fs

from bertserve.archives.fetching import fetch, shown
from bertserve.errors import ConfigError, PackageError
from commands import run
from serving import free_ports, http_server

CONTENT = random.Random(0).randbytes(3_000_000)  # the same in each process that collects tests
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "support-2.0.mar"


class Storage(BaseHTTPRequestHandler):
    """Has one archive, behind a redirect too; and one whose connection ends in the middle.

    It packs what it sends, where it is not told to leave that.
    """

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        path = self.path.partition("?")[0]
        if path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/moved"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        found = path in (f"/{NAME}", f"/cut/{NAME}")
        self.send_response(200 if found else 403)
        if "gzip" in self.headers["Accept-Encoding"]:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(CONTENT) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if "cut" in path else CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def storage() -> Iterator[str]:
    Storage.asked = 0
    with http_server(Storage) as url:
        yield url


def names(folder: Path) -> list[str]:
    """Hidden ones too."""
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


@pytest.mark.parametrize("path", [NAME, f"moved/{NAME}", f"{NAME}?signature=secret"])
def test_from_a_web_server(storage: str, path: str, tmp_path: Path) -> None:
    archive = fetch(f"{storage}/{path}", DIGEST.upper(), tmp_path / "models")
    assert archive == tmp_path / "models" / NAME
    assert archive.read_bytes() == CONTENT
    assert names(tmp_path / "models") == [NAME]


def test_what_is_there_is_not_fetched_again_and_what_is_damaged_is(
    storage: str, tmp_path: Path
) -> None:
    for asked in (1, 1):
        fetch(f"{storage}/{NAME}", DIGEST, tmp_path)
        assert Storage.asked == asked
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    assert fetch(f"{storage}/{NAME}", DIGEST, tmp_path).read_bytes() == CONTENT
    assert Storage.asked == 2


@pytest.mark.parametrize(
    ("path", "digest", "said"),
    [
        (NAME, "0" * 64, f"its SHA-256 is {DIGEST}, not {'0' * 64}"),
        (f"cut/{NAME}", DIGEST, "cannot be fetched: "),
        (f"private/{NAME}?signature=secret", DIGEST, "cannot be fetched: the server answered 403"),
    ],
)
def test_another_archive_never_appears(
    storage: str, path: str, digest: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match=said) as raised:
        fetch(f"{storage}/{path}", digest, tmp_path)
    assert "secret" not in str(raised.value)
    assert names(tmp_path) == []


def test_no_server(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(PackageError, match=f"127.0.0.1:{port}/{NAME} cannot be fetched: "):
        fetch(f"http://127.0.0.1:{port}/{NAME}", DIGEST, tmp_path)


@pytest.mark.parametrize(
    ("uri", "digest", "said"),
    [
        (NAME, DIGEST, "is no address of an archive"),
        ("s3://models/", DIGEST, "is no address of an archive"),
        ("s3://models/model.zip", DIGEST, "is no address of an archive"),
        ("https://host/..%2F..%2Fetc%2F.mar", DIGEST, "is no address of an archive"),
        ("https://host/a%00b.mar", DIGEST, "is no address of an archive"),
        ("https://host/a%0Ab.mar", DIGEST, "is no address of an archive"),
        ("https://host/a,b.mar", DIGEST, "is no address of an archive"),
        ("https://[::1/a.mar", DIGEST, "is no address of an archive .Invalid IPv6 URL"),
        (f"ftp://models/{NAME}", DIGEST, "is no address that pyarrow knows"),
        (f"s3://models/{NAME}", DIGEST[:-1], "is no SHA-256; give the 64"),
    ],
)
def test_wrong_arguments(uri: str, digest: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        fetch(uri, digest, tmp_path)
    assert names(tmp_path) == []


def test_secrets_are_not_shown() -> None:
    assert shown("https://me:secret@host:1/a/b.mar?key=secret") == "https://host:1/a/b.mar"


def test_from_object_storage(s3: str, tmp_path: Path) -> None:
    store, _ = fs.FileSystem.from_uri(f"s3://models/{s3}&allow_bucket_creation=true")
    store.create_dir("models")
    with store.open_output_stream(f"models/2026/{NAME}") as stream:
        stream.write(CONTENT)
    archive = fetch(f"s3://models/2026/{NAME}{s3}", DIGEST, tmp_path)
    assert archive.read_bytes() == CONTENT
    with pytest.raises(PackageError, match="s3://models/absent.mar cannot be fetched: "):
        fetch(f"s3://models/absent.mar{s3}", DIGEST, tmp_path)
    with pytest.raises(PackageError, match="is another archive than was meant"):
        fetch(f"s3://models/2026/{NAME}{s3}", "0" * 64, tmp_path / "other")
    assert names(tmp_path) == ["other", NAME]
    assert names(tmp_path / "other") == []


def test_a_full_disk_is_no_fault_of_the_archive(storage: str, tmp_path: Path) -> None:
    """/dev/full takes nothing, whoever writes."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("pathlib.Path.open", lambda *_, **__: open("/dev/full", "wb"))  # noqa: PTH123, SIM115
        with pytest.raises(OSError, match="No space left"):
            fetch(f"{storage}/{NAME}", DIGEST, tmp_path)
    assert names(tmp_path) == []


def test_the_command(storage: str, tmp_path: Path) -> None:
    asked = ["fetch", f"{storage}/{NAME}", "--to", str(tmp_path)]
    done = run(*asked, "--sha256", DIGEST, "--json")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / NAME) in done.stdout
    refused = run(*asked, "--sha256", "f" * 64)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: http://127.0.0.1:")
    assert "another archive than was meant" in refused.stderr
    assert (tmp_path / NAME).read_bytes() == CONTENT

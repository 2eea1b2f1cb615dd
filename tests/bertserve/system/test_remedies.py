import errno
import os
import shutil
from pathlib import Path

import pytest

from bertserve.system.remedies import sentence, with_remedy


def test_a_reason_of_nothing_that_we_know_stays() -> None:
    assert with_remedy("it is broken") == "it is broken"


@pytest.mark.parametrize(
    "reason",
    ["java.io.IOException: No space left on device", "[Errno 122] Disk quota exceeded: 'x'"],
)
def test_a_full_disk_has_a_remedy(reason: str) -> None:
    assert with_remedy(reason) == (
        f"{reason}; free some space, or set TMPDIR to a folder on another disk"
    )


def test_no_temporary_folder_has_a_remedy() -> None:
    reason = "No usable temporary directory found in ['/tmp']"
    assert with_remedy(reason).startswith(f"{reason}; set TMPDIR to a folder that can be written")
    assert "TMPDIR" in sentence(FileNotFoundError(errno.ENOENT, reason))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_file_or_the_temporary_folder(number: int) -> None:
    why = os.strerror(number)
    assert sentence(OSError(number, why, "/srv/x.mar")).endswith("another disk (/srv/x.mar)")
    assert "(the temporary folder is /" in sentence(OSError(number, why))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_is_shut_has_a_remedy(number: int) -> None:
    said = sentence(OSError(number, os.strerror(number), "/srv/x.mar"))
    assert "(/srv/x.mar); name a folder that this user can write and read" in said
    assert "; name a folder" in sentence(OSError(number, os.strerror(number)))


def test_errors_of_copies_are_the_first_one(tmp_path: Path) -> None:
    """shutil gathers them in a list of tuples."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "x").symlink_to("nowhere")
    with pytest.raises(shutil.Error) as raised:
        shutil.copytree(tmp_path / "from", tmp_path / "to")
    said = sentence(raised.value)
    assert "No such file or directory" in said
    assert "[(" not in said
    full = shutil.Error([("a", "b", "[Errno 28] No space left on device")])
    assert sentence(full).endswith("free some space, or set TMPDIR to a folder on another disk")
    assert sentence(shutil.Error("the same file"))

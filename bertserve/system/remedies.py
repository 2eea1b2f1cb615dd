"""What to do about what the operating system refuses: a full disk, a folder that cannot be written."""

from __future__ import annotations

import errno
import shutil
import tempfile

_FULL = ("No space left on device", "Disk quota exceeded")


def with_remedy(reason: str) -> str:
    """A reason, with what to do about it where the disk is full or a folder is shut."""
    if any(text in reason for text in _FULL):
        return f"{reason}; free some space, or set TMPDIR to a folder on another disk"
    if "No usable temporary directory" in reason:
        return f"{reason}; set TMPDIR to a folder that can be written, on a disk that is not full"
    return reason


def sentence(error: OSError) -> str:
    """An error of the operating system as a sentence."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        whys = [str(each[-1]) for each in error.args[0] if each]
        return with_remedy(whys[0] if whys else str(error))
    reason = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename and error.strerror else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = where or f" (the temporary folder is {tempfile.gettempdir()})"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        where += "; name a folder that this user can write and read"
    return with_remedy(reason + where) if where.startswith(";") else with_remedy(reason) + where

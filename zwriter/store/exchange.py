"""Two names that are exchanged in one step, and a file that so takes the place of another."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path

from zwriter.failpoint import failpoint

_HERE = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def exchange(one: str | Path, other: str | Path) -> bool:
    """Exchange two files or folders in one step; False where the system cannot do that.

    Raises OSError, FileNotFoundError if one of them is not there.
    """
    if _renameat2 is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if _renameat2(_HERE, paths[0], _HERE, paths[1], ctypes.c_uint(_EXCHANGE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):  # EPERM: a sandbox
        return False
    raise OSError(number, os.strerror(number), str(other))


def take_place(new: str, path: str) -> None:
    """As `os.rename`, but for what a power cut may leave there.

    A rename onto a file makes ext4 find room for the new one, and write it, there and then: that
    takes five times as long as all else that a small document needs.
    """
    try:
        exchanged = exchange(new, path)
    except FileNotFoundError:  # nothing is there yet
        exchanged = False
    if exchanged:
        failpoint("file.exchanged")
    else:
        os.rename(new, path)  # noqa: PTH104
    # some file systems only rename, and say that they exchanged; none renames a file to itself
    with suppress(FileNotFoundError):
        os.unlink(new)  # noqa: PTH108

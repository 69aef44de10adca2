"""A file that takes the place of another in one step, and is not written to the disk for it."""

from __future__ import annotations

import ctypes
import os

from zwriter.failpoint import failpoint

_HERE = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE
_renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)


def take_place(new: str, path: str) -> None:
    """As `os.rename` does; nor does it say what is there after a power cut.

    A rename onto a file makes ext4 find room for the new one, and write it, there and then: five
    times the time of all else that a small document takes. Two names that are exchanged do not.
    """
    names = _HERE, os.fsencode(new), _HERE, os.fsencode(path), _EXCHANGE
    if _renameat2 is None or _renameat2(*names) != 0:  # none is there yet, or NFS
        os.rename(new, path)  # noqa: PTH104
        return
    failpoint("file.exchanged")
    os.unlink(new)  # noqa: PTH108

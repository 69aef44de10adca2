"""A small file that is replaced again and again, each time in one step."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from zwriter.failpoint import failpoint
from zwriter.store.disk import step, temporary_of, write_all, write_anew
from zwriter.store.exchange import take_place

READING = 0.5  # seconds from opening a document until it is read


class Document:
    """The file `path`, and another one that is written next: they exchange their names.

    The other one is used again once nobody can be reading it any more: to make a file for each
    version and remove the one before costs ext4 20 times as much (decision 11).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._other = temporary_of(path)
        self._left: float | None = None  # when the other one was the document (monotonic)

    @step
    def replace(self, data: bytes) -> None:
        """Put `data` in the place of what is there. Not synced."""
        left, self._left = self._left, None
        try:
            if left is None or time.monotonic() - left < READING or not self._rewrite(data):
                write_anew(self._other, data)
            failpoint("file.renaming")
            exchanged = take_place(self._other, os.fspath(self._path))
        except OSError:
            self.tidy()
            raise
        if exchanged:
            self._left = time.monotonic()
        failpoint("file.renamed")

    def _rewrite(self, data: bytes) -> bool:
        """Write `data` over the other file; False if it has to be another one."""
        try:
            fd = os.open(self._other, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            known = os.fstat(fd)
            if known.st_nlink != 1:  # a tree that was taken over, or a backup, has it, too
                return False
            write_all(fd, [data], 0)
            if known.st_size > len(data):
                os.ftruncate(fd, len(data))
        finally:
            os.close(fd)
        return True

    def tidy(self) -> None:
        """Remove the other file."""
        self._left = None
        with suppress(OSError):
            os.unlink(self._other)  # noqa: PTH108

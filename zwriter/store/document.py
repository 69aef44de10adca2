"""A small file that is replaced again and again, each time in one step."""

from __future__ import annotations

import os
from pathlib import Path

from zwriter.failpoint import failpoint
from zwriter.store.disk import replace_file, step


class Document:
    """The file `path`, which nobody else writes.

    A version in which only one aligned word of 8 bytes is another is written in place: such a word
    is copied in one go, so who reads sees the one or the other, and a power cut leaves the one or
    the other. To make a file for each version, and remove the one before, costs ext4 30 times as
    much (decision 2).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = b""  # as far as we know

    def replace(self, text: bytes, word: slice) -> None:
        """Put `text` in the place of what is there; it is not synced.

        word: the bytes that may differ from the version before if it is to be written in place.
        """
        before, self._text = self._text, b""
        if not _differ_at_most_in(word, before, text) or not self._write(text, word):
            replace_file(self._path, text)
        self._text = text

    @step
    def _write(self, text: bytes, word: slice) -> bool:
        """Write one word; False if the file is gone."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            failpoint("document.writing")
            os.pwrite(fd, text[word], word.start)
        finally:
            os.close(fd)
        failpoint("document.written")
        return True


def _differ_at_most_in(word: slice, one: bytes, other: bytes) -> bool:
    same = len(one) == len(other) and one[: word.start] == other[: word.start]
    return same and one[word.stop :] == other[word.stop :]

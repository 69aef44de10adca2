"""A shard that is read from its beginning on, on a disk or in a bucket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from zwriter.objects import PIECE, AnyPath, ObjectPath


@contextmanager
def opened(path: AnyPath) -> Iterator[IO[bytes]]:
    """Raises FileNotFoundError if it is not there."""
    if isinstance(path, Path):
        with path.open("rb", buffering=0) as file:
            yield file
    else:
        with io.BufferedReader(_Object(path), 1) as file:
            yield file


class _Object(io.RawIOBase):
    """By requests for `PIECE` bytes, or for as many as are asked for; the first ones are kept.

    Raises OSError if it is empty, or replaced by a shorter one meanwhile.
    """

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._at = path, 0
        start, self._size = path.read_start(PIECE)
        self._first = self._last = (0, memoryview(start))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = begin + offset
        return self._at

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        stop = min(self._at + len(view), self._size)
        if stop <= self._at:
            return 0
        begin, piece = self._piece(self._at, stop)
        view[: stop - self._at] = piece[self._at - begin : stop - begin]
        count, self._at = stop - self._at, stop
        return count

    def _piece(self, start: int, stop: int) -> tuple[int, memoryview]:
        """A piece that has these bytes, and where it begins."""
        for begin, piece in (self._first, self._last):
            if begin <= start and stop <= begin + len(piece):
                return begin, piece
        self._last = start, self._continued(start, min(max(stop, start + PIECE), self._size))
        return self._last

    def _continued(self, start: int, stop: int) -> memoryview:
        """These bytes; those that the last piece ends with are not asked for again."""
        begin, piece = self._last
        known = max(begin + len(piece) - start, 0) if begin <= start else 0
        part = self._path.read_part(start + known, stop)
        if known + len(part) < stop - start:
            raise OSError(f"{self._path} is shorter than it was")
        return memoryview(b"".join((piece[len(piece) - known :], part)) if known else part)

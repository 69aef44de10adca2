"""Framed logs: records appended to a file, of which a torn last one does not exist.

A record is `length: u4le, crc32: u4le of the payload, payload`; a payload has at least one byte.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from zwriter.errors import StoreError

_HEADER = struct.Struct("<II")
_BLOCK = 1 << 20


class FramedLog:
    """A framed log opened for appending; a torn record at its end is cut off.

    Raises StoreError if a record that is not the last one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._end = 0
            for payload in read_frames(path):
                self._end += _HEADER.size + len(payload)
            os.ftruncate(self._fd, self._end)
        except BaseException:
            os.close(self._fd)
            raise

    def append(self, payload: bytes) -> None:
        """Add one record, whole or, if the disk refuses, not at all (OSError)."""
        if not payload:
            raise ValueError("a record has at least one byte")
        record = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            written = os.pwrite(self._fd, record, self._end)
            while written < len(record):
                written += os.pwrite(self._fd, record[written:], self._end + written)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._end += len(record)

    def sync(self) -> None:
        """Return when all records are on the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FramedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_frames(path: Path) -> Iterator[bytes]:
    """The payloads of a log that another process may be appending to.

    Raises StoreError if a record that is not the last one is damaged.
    """
    with path.open("rb") as file:
        while True:
            begin = file.tell()
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return
            length, crc = _HEADER.unpack(header)
            payload = file.read(length)
            if length and len(payload) == length and zlib.crc32(payload) == crc:
                yield payload
            elif len(payload) < length or _only_zeros_follow(file):
                return
            else:
                raise StoreError(f"{path}: the record at byte {begin} is damaged; restore the file")


def _only_zeros_follow(file: BinaryIO) -> bool:
    """What a power cut leaves behind the last record: its place, but not its bytes."""
    while block := file.read(_BLOCK):
        if block.count(0) != len(block):
            return False
    return True

"""Framed logs: records appended to a file, of which a torn last one does not exist.

A record is `length: u4le, crc32: u4le of the payload, payload`; a payload has at least one byte.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from zwriter.errors import StoreError
from zwriter.objects import AnyPath
from zwriter.store.disk import flush, step, write_all
from zwriter.store.log_parts import open_log

_HEADER = struct.Struct("<II")
_BLOCK = 1 << 20


class FramedLog:
    """A framed log opened for appending; a torn record at its end is cut off.

    `check` is called before anything is changed. Raises what it does, and StoreError if a record
    that is not the last one is damaged.
    """

    def __init__(self, path: Path, check: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._synced = False  # nobody knows what a writer before us did
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            check()
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
        self._write(record)
        self._end += len(record)
        self._synced = False

    @step
    def _write(self, record: bytes) -> None:
        try:
            write_all(self._fd, [record], self._end)
        except OSError:
            with suppress(OSError):  # what stays is torn, and overwritten by the next record
                os.ftruncate(self._fd, self._end)
            raise

    @property
    def nbytes(self) -> int:
        """The size of the log."""
        return self._end

    def sync(self) -> None:
        """Return when all records are on the disk."""
        if not self._synced:
            flush(self._fd)
            self._synced = True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FramedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_frames(path: AnyPath) -> Iterator[bytes]:
    """The payloads of a log that another process may be appending to.

    Raises StoreError if a record that is not the last one is damaged.
    """
    with open_log(path) as file:
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


def whole_frames(data: bytes) -> int:
    """How many bytes, of `data` that begins with a record, are whole records."""
    end = 0
    while end + _HEADER.size < len(data):
        length, crc = _HEADER.unpack_from(data, end)
        payload = data[end + _HEADER.size : end + _HEADER.size + length]
        if not length or len(payload) < length or zlib.crc32(payload) != crc:
            break
        end += _HEADER.size + length
    return end


def copy_whole_frames(path: Path, target: Path) -> bytes:
    """Copy the records of a log, to the disk, up to a damaged one; that and all that follows it is
    returned, unless it is only a last one that was cut off.
    """
    nbytes, damaged = 0, False
    try:
        for payload in read_frames(path):
            nbytes += _HEADER.size + len(payload)
    except StoreError:
        damaged = True
    data = path.read_bytes()
    with target.open("wb") as file:
        file.write(data[:nbytes])
        file.flush()
        flush(file.fileno())
    return data[nbytes:] if damaged else b""


def _only_zeros_follow(file: IO[bytes]) -> bool:
    """What a power cut leaves behind the last record: its place, but not its bytes."""
    while block := file.read(_BLOCK):
        if block.count(0) != len(block):
            return False
    return True

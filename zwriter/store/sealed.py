"""Shard files that nobody writes any more: checked, read, trimmed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import Damaged
from zwriter.store.codecs import CRC_BYTES, intact
from zwriter.store.disk import step
from zwriter.store.shard_index import FIRST_CHUNK, MISSING, checksum_of, end_of, read_index

_read = step(os.pread)


class Freed(OSError):
    """The chunks of a sealed shard are not in its file any more, but in a bucket: `path` is to be
    filled again. As one that passes: who waits for the disk can do that."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EHOSTDOWN, "its chunks are in a bucket", str(path))
        self.path = path


def check_sealed(path: Path, capacity: int, checksum: int, *, thorough: bool) -> None:
    """Raises Damaged if this is not the shard file that has the checksum.

    thorough: or if any of its chunks is not what was written.
    """
    with reading(path) as fd:
        if is_freed(fd):
            return
        index = index_of(fd, capacity)
        if shard_checksum(fd, index) != checksum:
            raise Damaged(f"{path}: not the shard that was sealed")
        for offset, nbytes in index[index[:, 0] != MISSING] if thorough else ():
            checked_chunk(fd, int(offset), int(nbytes))


@contextmanager
def reading(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None
    try:
        yield fd
    finally:
        os.close(fd)


def index_of(fd: int, capacity: int) -> NDArray[np.uint64]:
    try:
        return read_index(fd, capacity)
    except ValueError as error:
        raise Damaged(str(error)) from None


def checked_chunk(fd: int, offset: int, nbytes: int) -> bytes:
    """A chunk, with its checksum. Raises Damaged if that is wrong."""
    stored = os.pread(fd, nbytes, offset)
    if len(stored) != nbytes or not intact(stored):
        raise Damaged(f"the chunk at byte {offset} is damaged")
    return stored


@step
def read_sealed_chunk(path: Path, capacity: int, number: int) -> bytes | None:
    """`ShardFile.read` of a sealed shard. Raises Freed."""
    with path.open("rb", buffering=0) as file:
        offset, nbytes = (int(value) for value in read_index(file.fileno(), capacity)[number])
        if offset == int(MISSING):
            return None
        stored = os.pread(file.fileno(), nbytes, offset)
        if len(stored) < nbytes and is_freed(file.fileno()):
            raise Freed(path)
        return stored


def is_freed(fd: int) -> bool:
    """Whether there is only the head: see zwriter.ship.spool."""
    return os.fstat(fd).st_size == FIRST_CHUNK


@step
def trim(path: Path, capacity: int) -> None:
    """Cut the versions off a sealed shard file and make it read-only. Can be repeated."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        index = read_index(fd, capacity)
    finally:
        os.close(fd)
    path.chmod(0o644)
    os.truncate(path, end_of(index))  # also what was reserved
    path.chmod(0o444)


def shard_checksum(fd: int, index: NDArray[np.uint64]) -> int:
    """The `checksum_of` a shard file."""
    ends = index[index[:, 0] != MISSING].sum(axis=1)
    return checksum_of(index, [_read(fd, CRC_BYTES, int(end) - CRC_BYTES) for end in ends])

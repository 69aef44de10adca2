"""One shard file: a Zarr shard while it grows, and an HDF5 file too once it is sealed. See
docs/format.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from zwriter.store.hdf5_header import METADATA_BYTES, USER_BLOCK

MAX_CHUNKS = 255  # an index of one page: readers never see it torn
FIRST_CHUNK = USER_BLOCK + METADATA_BYTES
MISSING = np.uint64(2**64 - 1)


class ShardFile:
    """Chunks of one shard, by number along axis 0.

    Whole chunks go below `reach`, versions of partial ones beyond it. Nothing is visible before
    `publish`; what is published is never overwritten.
    """

    def __init__(self, path: Path, capacity: int, chunk_bound: int, *, create: bool) -> None:
        self.path = path
        self.capacity = capacity
        self.reach = FIRST_CHUNK + capacity * chunk_bound
        self.index: NDArray[np.uint64] = np.full((capacity, 2), MISSING, np.uint64)
        self.dirty = False
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # a stale file stays whole for who has it open
        flags = os.O_RDWR | os.O_CREAT if create else os.O_RDWR
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
        if not create:
            self.index = read_index(self._fd, capacity)
        self._low, self._high = self._free_space()
        if create:  # an empty index, so that there is always one to read
            self.dirty = True
            self.publish()

    def _free_space(self) -> tuple[int, int]:
        present = self.index[self.index[:, 0] != MISSING]
        ends = present[:, 0] + present[:, 1]
        low = int(ends[ends <= self.reach].max(initial=FIRST_CHUNK))
        return low, max(self.reach, os.fstat(self._fd).st_size)

    def put(self, number: int, parts: tuple[Any, bytes], *, whole: bool) -> None:
        """Write the encoded chunk `number`, for good (`whole`) or as the newest version."""
        data, crc = parts
        nbytes = memoryview(data).nbytes + len(crc)
        offset = self._low if whole else self._high
        _write_all(self._fd, [data, crc], offset, nbytes)
        if whole:
            self._low += nbytes
        else:
            self._high += nbytes
        self.index[number] = offset, nbytes
        self.dirty = True

    def publish(self) -> None:
        """Make what was put visible: the index, in one call."""
        if self.dirty:
            data = self.index.tobytes()
            crc = google_crc32c.value(data).to_bytes(4, "little")
            os.pwrite(self._fd, data + crc, 0)
            self.dirty = False

    @property
    def full(self) -> bool:
        """Every chunk is there, and whole: nothing more will come."""
        return bool(np.all(self.index[:, 0] < self.reach))

    @property
    def checksum(self) -> int:
        """crc32c of the index: tells this shard from any other."""
        return int(google_crc32c.value(self.index.tobytes()))

    def read(self, number: int) -> bytes | None:
        """The stored bytes of a chunk (with its crc32c), or None when it is not there."""
        offset, nbytes = (int(value) for value in self.index[number])
        if offset == int(MISSING):
            return None
        return os.pread(self._fd, nbytes, offset)

    def partial(self) -> dict[int, tuple[int, int]]:
        """The chunks that are only there as versions: number -> (offset, nbytes)."""
        offsets = self.index[:, 0]
        found = np.flatnonzero((offsets != MISSING) & (offsets >= self.reach))
        return {int(i): (int(self.index[i, 0]), int(self.index[i, 1])) for i in found}

    def restore(self, chunks: int, partial: dict[int, tuple[int, int]]) -> None:
        """Back to a commit: its first `chunks` chunks, and those in `partial` at their places."""
        self.index[chunks:] = MISSING
        for number, place in partial.items():
            self.index[number] = place
        self.dirty = True
        self.publish()

    def compact(self) -> None:
        """Write the versions of partial chunks once more, below `reach`, as sealing needs it."""
        for number in self.partial():
            stored = self.read(number)
            if stored is not None:
                self.put(number, (stored, b""), whole=True)
        self.publish()

    def table(self, crc_bytes: int) -> dict[int, tuple[int, int]]:
        """What HDF5 must know of each chunk: number -> (offset, nbytes without the checksum)."""
        present = np.flatnonzero(self.index[:, 0] != MISSING)
        return {int(i): (int(self.index[i, 0]), int(self.index[i, 1]) - crc_bytes) for i in present}

    @property
    def end(self) -> int:
        """The first byte behind the whole chunks: the size of the finished file."""
        return self._low

    def write_metadata(self, metadata: bytes) -> None:
        """The HDF5 side of a shard whose chunks are all whole."""
        os.pwrite(self._fd, metadata, USER_BLOCK)

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def trim(path: Path, capacity: int = MAX_CHUNKS) -> None:
    """Cut the versions off a sealed shard file and make it read-only. Can be repeated."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        index = read_index(fd, capacity)
    finally:
        os.close(fd)
    present = index[index[:, 0] != MISSING]
    end = int(present.sum(axis=1).max(initial=FIRST_CHUNK))
    if path.stat().st_size > end:
        path.chmod(0o644)
        os.truncate(path, end)
    path.chmod(0o444)


def read_index(fd: int, capacity: int) -> NDArray[np.uint64]:
    """The index of a shard file, all missing if there is none. Raises ValueError if damaged."""
    data = os.pread(fd, 16 * capacity + 4, 0)
    if not data:
        return np.full((capacity, 2), MISSING, np.uint64)
    if google_crc32c.value(data[:-4]).to_bytes(4, "little") != data[-4:]:
        raise ValueError("damaged shard index")
    return np.frombuffer(data[:-4], "<u8").reshape(capacity, 2).copy()


def _write_all(fd: int, parts: list[Any], offset: int, nbytes: int) -> None:
    written = os.pwritev(fd, parts, offset)
    if written == nbytes:
        return
    rest = memoryview(b"".join(bytes(part) for part in parts))[written:]
    while rest:  # the kernel writes at most 2 GiB at a time, or less when the disk is filling up
        done = os.pwrite(fd, rest, offset + nbytes - len(rest))
        rest = rest[done:]

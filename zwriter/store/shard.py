"""One shard file: a Zarr shard while it grows, and an HDF5 file too once it is sealed. See
docs/format.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import Damaged
from zwriter.failpoint import failpoint
from zwriter.store.array_state import OpenShard
from zwriter.store.disk import flush, make_folder, nbytes_of, passing, step, sync_names, write_all
from zwriter.store.encoder import Parts
from zwriter.store.mapping import mapped
from zwriter.store.reserve import reserve
from zwriter.store.sealed import checked_chunk, index_of, reading, shard_checksum
from zwriter.store.shard_index import (
    FIRST_CHUNK,
    METADATA_BYTES,
    MISSING,
    MOST_FREE,
    USER_BLOCK,
    address_of,
    aligned,
    end_of,
    index_at_commit,
    index_bytes,
    read_index,
)

LARGE = 256 * 1024  # bytes: smaller chunks are not worth a step of their own
RESERVED = 32 * 1024 * 1024

_written = step(write_all)
_read = step(os.pread)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk is; `refused`: what is still to be written there, if the disk refused it."""

    offset: int
    nbytes: int
    refused: Parts | None = None

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


class ShardFile:
    """Chunks of one shard, by number along axis 0.

    Whole chunks go below `reach`, versions of partial ones beyond it, and so do texts that take
    more than was thought, which count as partial as long as the shard grows. Nothing is visible
    before `publish`; what is published is never overwritten, unless it was not committed at a
    `restore`.

    chunk_bound: bytes that a chunk takes at most; aligns: as many as it needs to have some left
    free before it.
    """

    def __init__(
        self, path: Path, capacity: int, chunk_bound: int, *, create: bool, aligns: bool = True
    ) -> None:
        self.path = path
        self.capacity = capacity
        self.aligns = aligns
        self.reach = FIRST_CHUNK + capacity * chunk_bound
        self.index: NDArray[np.uint64] = np.full((capacity, 2), MISSING, np.uint64)
        self.dirty = False
        self._unsynced = self._created = create
        self._fd = _open(path, create)
        if not create:
            self.index = read_index(self._fd, capacity)
        self._take_stock()
        self._growing = Lock()
        self._low, self._high = self._whole[0], max(self.reach, os.fstat(self._fd).st_size)
        self._reserved = self._low
        if create:  # an empty index, so that there is always one to read
            self.dirty = True
            self.publish()

    def _take_stock(self) -> None:
        """Know without a look at the index what `take` adds to, and each commit says."""
        offsets = self.index[:, 0]
        found = np.flatnonzero((offsets != MISSING) & (offsets >= self.reach))
        self._partial = {int(i): (int(self.index[i, 0]), int(self.index[i, 1])) for i in found}
        whole = self.index[offsets < self.reach]
        self._whole = int(whole.sum(axis=1).max(initial=FIRST_CHUNK)), len(whole)

    def put(self, number: int, parts: Parts, *, whole: bool) -> None:
        """Write the encoded chunk `number`, for good (`whole`) or as the newest version."""
        self.take(number, self.write(parts, whole=whole))

    def write(self, parts: Parts, *, whole: bool) -> Place:
        """Write an encoded chunk, which `take` makes one of this shard's. Any thread may do so."""
        nbytes = nbytes_of(parts)
        large = nbytes >= LARGE and self.aligns
        address = _address(parts) if large else None
        with self._growing:
            offset = _from(self._low, address)
            whole = whole and offset + nbytes <= self.reach
            if not whole:
                offset = _from(self._high, address)
            if whole:
                self._low = offset + nbytes
                self._reserve(nbytes, self._low)
            else:
                self._high = offset + nbytes
        try:
            _write_chunk(self._fd, parts, offset)
        except OSError as error:
            if not passing(error):
                raise
            return Place(offset, nbytes, parts)
        return Place(offset, nbytes)

    @property
    def low(self) -> int:
        """Behind the last chunk that is whole."""
        return self._low

    def write_ahead(self, parts: Parts, place: Place) -> None:
        """Write an encoded chunk, which is to be whole, before it is put; `accept` puts it, if what
        comes before it was. Nothing else may be on its way.
        """
        self._reserve(place.nbytes, place.end)
        _write_chunk(self._fd, parts, place.offset)

    def accept(self, number: int, place: Place) -> None:
        """Make what was written ahead the chunk `number`."""
        if not 0 <= place.offset - self._low <= MOST_FREE:
            raise RuntimeError("two writers at once, or threads")
        self._low = place.end
        self.take(number, place)

    def mapped(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """As `mapping.mapped`."""
        return mapped(self._fd, offset, nbytes)

    def _reserve(self, nbytes: int, end: int) -> None:
        """Ask for room ahead of large chunks, about as much as was needed until now."""
        if nbytes >= LARGE and end > self._reserved:
            ahead = min(end, RESERVED, self.reach - end)
            reserve(self._fd, self._reserved, end - self._reserved + ahead)
            self._reserved = end + ahead

    def take(self, number: int, place: Place) -> None:
        """Make what was written the chunk `number`; if the disk refused it, it is written now."""
        if place.refused is not None:
            _write_chunk_patiently(self._fd, place.refused, place.offset)
        known = self.index[number, 0] < self.reach
        self.index[number] = place.offset, place.nbytes
        if place.offset < self.reach:
            self._partial.pop(number, None)
            end, count = self._whole
            self._whole = max(end, place.end), count + (not known)
        elif known:
            self._take_stock()
        else:
            self._partial[number] = place.offset, place.nbytes
        self._unsynced = self.dirty = True

    def publish(self) -> None:
        """Make what was put visible: the index, in one call."""
        if self.dirty:
            failpoint("index.writing")
            _written(self._fd, [index_bytes(self.index)], 0)
            failpoint("index.written")
            self._unsynced = True
            self.dirty = False

    @property
    def whole(self) -> tuple[int, int]:
        """Where the last chunk that is whole ends, and how many there are."""
        return self._whole

    @property
    def full(self) -> bool:
        """Every chunk is there, and whole: nothing more will come."""
        return bool(np.all(self.index[:, 0] < self.reach))

    @property
    def checksum(self) -> int:
        """Tells this shard from any other."""
        return shard_checksum(self._fd, self.index)

    def read(self, number: int) -> bytes | None:
        """The stored bytes of a chunk (with its crc32c), or None when it is not there."""
        offset, nbytes = (int(value) for value in self.index[number])
        if offset == int(MISSING):
            return None
        return _read(self._fd, nbytes, offset)

    def partial(self) -> dict[int, tuple[int, int]]:
        """The chunks that are only there as versions: number -> (offset, nbytes)."""
        return dict(sorted(self._partial.items()))

    def restore(self, chunks: int, partial: dict[int, tuple[int, int]], end: int) -> None:
        """Back to a commit: its first `chunks` chunks, of which those in `partial` are at their
        places and the others, which are whole, before `end`.
        """
        self.index = index_at_commit(self.index, chunks, partial, end)
        self._take_stock()
        self._low = self._whole[0]  # what nobody committed takes no room below `reach`
        self.dirty = True
        self.publish()

    def compact(self) -> None:
        """Write the versions of partial chunks once more, below `reach`, where they have room: what
        lies there is the finished file."""
        for number, (_, nbytes) in self.partial().items():
            stored = self.read(number)
            if stored is not None and self._low + nbytes <= self.reach:
                self.put(number, (stored, b""), whole=True)
        self.publish()

    @property
    def end(self) -> int:
        """The first byte behind the chunks, once all are whole: the size of the finished file. What
        was written after a commit that we went back to may lie further behind.
        """
        return end_of(self.index)

    def write_metadata(self, metadata: bytes) -> None:
        """The HDF5 side, if it has one, of a shard whose chunks are all whole."""
        if self.end == FIRST_CHUNK:  # no chunk is behind it, but HDF5 wants the file to be whole
            metadata = metadata.ljust(METADATA_BYTES, b"\0")
        _written(self._fd, [metadata], USER_BLOCK)
        failpoint("seal.metadata")
        self._unsynced = True

    def sync(self, top: Path) -> None:
        """Return when all is on the disk; if the file is new, also its name, in all folders up to
        `top`.
        """
        if self._unsynced:
            flush(self._fd)
            self._unsynced = False
        if self._created:
            sync_names(self.path, top)
            self._created = False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _from(end: int, address: int | None) -> int:
    """Where a chunk begins behind what ends there; address: in memory, if it is to be aligned."""
    return end if address is None else aligned(end, address)


def _address(parts: Parts) -> int:
    """Where a chunk would begin in memory, if all of it were where its largest part is."""
    *before, data, _crc = parts
    return address_of(data) - nbytes_of(before)


def _write_chunk(fd: int, parts: Parts, offset: int) -> None:
    write_all(fd, list(parts), offset)
    failpoint("chunk.written")


_write_chunk_patiently = step(_write_chunk)


@step
def _open(path: Path, create: bool) -> int:
    if create:
        make_folder(path.parent)
        path.unlink(missing_ok=True)  # a stale file stays whole for who has it open
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)


def copy_committed(path: Path, target: Path, capacity: int, chunks: int, shard: OpenShard) -> None:
    """Write to `target` what a commit says of the shard file `path`, each chunk at its place.

    chunks: how many it has.

    Raises Damaged if any of it is not there, or not what was written.
    """
    with reading(path) as fd:
        index = index_at_commit(index_of(fd, capacity), chunks, shard.partial, shard.end)
        if np.count_nonzero(index[:, 0] < shard.end) != shard.whole:
            raise Damaged(f"{path}: its index is older than the commit")
        out = _open(target, create=True)
        try:
            for number in np.flatnonzero(index[:, 0] != MISSING):
                offset, nbytes = (int(value) for value in index[number])
                _written(out, [checked_chunk(fd, offset, nbytes)], offset)
            _written(out, [index_bytes(index)], 0)
        finally:
            os.close(out)

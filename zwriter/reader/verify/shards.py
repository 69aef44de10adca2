"""Shard files: the index, every chunk, and the HDF5 side of what is sealed."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import IO, Any

import h5py
import hdf5plugin  # noqa: F401  (registers the Blosc filter)
import numpy as np
from numpy.typing import NDArray

from zwriter.objects import AT_ONCE, PIECE, AnyPath, each
from zwriter.reader.commits import ArrayCommit
from zwriter.reader.verify.opened import opened
from zwriter.reader.verify.report import Report
from zwriter.store.array_state import dtype_from_json, room_for
from zwriter.store.codecs import CRC_BYTES, intact
from zwriter.store.shard_index import (
    FIRST_CHUNK,
    MISSING,
    USER_BLOCK,
    checksum_of,
    index_nbytes,
    parse_index,
)
from zwriter.store.zarr_json import chunk_key, generation_of, stored_shape

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_READING = BoundedSemaphore(AT_ONCE)  # of all signals, whose shards are read side by side,
_ONE = Lock()  # but not those of large chunks, some of which each has in memory


@dataclass(frozen=True)
class ShardedArray:
    """An array of shard files, as its `zarr.json` and its commit describe it.

    needed: whether a chunk, by its number along axis 0, must be there, in a shard that is sealed or
    in one that is not.
    """

    folder: AnyPath
    document: dict[str, Any]
    commit: ArrayCommit
    finished: bool
    needed: Callable[[int, bool], bool]

    @property
    def dtype(self) -> np.dtype[Any]:
        return dtype_from_json(self.commit.dtype)

    @property
    def sharding(self) -> dict[str, Any]:
        configuration: dict[str, Any] = self.document["codecs"][0]["configuration"]
        return configuration

    @property
    def chunk_rows(self) -> int:
        return int(self.sharding["chunk_shape"][0])

    @property
    def per_shard(self) -> int:
        if generation_of(self.document) != self.commit.generation % 3:  # of a later one, promoted
            return self.commit.shard_chunks
        grid = self.document["chunk_grid"]["configuration"]["chunk_shape"]
        return int(grid[0]) // self.chunk_rows

    @property
    def chunk_nbytes(self) -> int | None:
        """Size of a decoded chunk; None where it is not fixed."""
        if self.dtype.kind == "T":
            return None
        itemsize = 1 if self.dtype.kind == "V" else self.dtype.itemsize  # records lie as bytes
        return math.prod(int(size) for size in self.sharding["chunk_shape"]) * itemsize

    @property
    def compressed(self) -> bool:
        return any(codec["name"] == "blosc" for codec in self.sharding["codecs"])

    def path(self, shard: int) -> AnyPath:
        ndim = len(stored_shape(self.commit.shape, self.dtype))
        return self.folder / chunk_key(self.commit.generation, ndim, shard)

    @property
    def in_shards(self) -> int:
        """How many rows of the commit lie in shards, those that are sealed excepted."""
        return self.commit.shape[0] if self.commit.in_shards is None else self.commit.in_shards

    @property
    def shards(self) -> list[int]:
        """Those that the commit needs."""
        growing = range(-(-self.in_shards // (self.chunk_rows * self.per_shard)))
        return sorted({*growing, *self.commit.sealed})

    def rows(self, shard: int) -> int:
        """How many rows of the commit lie in a shard."""
        size = self.chunk_rows * self.per_shard
        there = self.commit.shape[0] if shard in self.commit.sealed else self.in_shards
        return min(there - shard * size, size)

    def wanted(self, shard: int) -> list[int]:
        """The chunks that a shard must have, by their number in it."""
        numbers, first = range(-(-self.rows(shard) // self.chunk_rows)), shard * self.per_shard
        return [n for n in numbers if self.needed(first + n, shard in self.commit.sealed)]


def verify_shards(array: ShardedArray, report: Report) -> None:
    """Every shard that the commit needs, into `report`; in a bucket many side by side."""
    for part in each(array.folder, partial(_verify_shard, array), array.shards):
        report.include(part)


def _verify_shard(array: ShardedArray, shard: int) -> Report:
    path = array.path(shard)
    report = Report(str(path))
    wanted = array.wanted(shard)
    try:
        with _READING if (array.chunk_nbytes or 0) <= PIECE else _ONE, opened(path) as file:
            for problem in _shard_problems(array, shard, file, wanted, report):
                report.problems.append(f"{path}: {problem}")
    except FileNotFoundError:
        if wanted or array.finished:
            report.problems.append(f"{path}: the shard is missing")
    except OSError as error:
        report.problems.append(f"{path}: cannot be read: {error}")
    return report


def _shard_problems(
    array: ShardedArray, shard: int, file: IO[bytes], wanted: list[int], report: Report
) -> Iterator[str]:
    try:
        index = parse_index(_read(file, 0, index_nbytes(array.per_shard)), array.per_shard)
    except ValueError as error:
        yield f"{error}: none of its chunks can be found"
        return
    yield from _index_problems(array, index, file.seek(0, io.SEEK_END))
    missing = [number for number in wanted if index[number, 0] == MISSING]
    if missing:
        yield f"the index lacks chunks {_ranges(missing)}"
    yield from _stale_problems(array, shard, index)
    of_chunks = []
    for number in np.flatnonzero(index[:, 0] != MISSING):
        offset, nbytes = (int(value) for value in index[number])
        stored = _read(file, offset, nbytes)
        of_chunks.append(stored[-CRC_BYTES:])
        problem = _chunk_problem(array, stored, nbytes)
        if problem:
            yield f"chunk {number} {problem}"
        else:
            report.chunks += 1
            report.bytes += nbytes
    checksum = checksum_of(index, of_chunks)
    if array.commit.sealed.get(shard, checksum) != checksum:
        yield "this is not the shard that was sealed here"
    sealed = _read(file, USER_BLOCK, len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    if array.dtype.kind != "T" and (sealed or array.finished):
        if sealed:
            yield from _hdf5_problems(array, shard, file, index)
        else:
            yield "has no HDF5 side: the shard was not sealed"


def _read(file: IO[bytes], offset: int, nbytes: int) -> bytes:
    file.seek(offset)
    return file.read(nbytes)


def _index_problems(array: ShardedArray, index: NDArray[np.uint64], size: int) -> Iterator[str]:
    """Chunks lie behind the index, inside the file, and not on one another."""
    present = np.flatnonzero(index[:, 0] != MISSING)
    places = sorted((int(index[n, 0]), int(index[n, 1]), int(n)) for n in present)
    end, last = 16 * array.per_shard + 4, -1
    for offset, nbytes, number in places:
        if offset < end:
            yield f"chunk {number} lies over {'the index' if last < 0 else f'chunk {last}'}"
        if offset + nbytes > size:
            yield f"chunk {number} ends behind the end of the file, which is cut off"
        end, last = offset + nbytes, number


def _stale_problems(array: ShardedArray, shard: int, index: NDArray[np.uint64]) -> Iterator[str]:
    """The index is at least as new as the commit: newer versions lie further behind."""
    if array.chunk_nbytes is None:
        return
    reach = FIRST_CHUNK + array.per_shard * room_for(array.chunk_nbytes, array.commit.free)
    for at, number, offset, _ in array.commit.open:
        found = int(index[number, 0])
        if at == shard and reach <= found < offset:
            yield f"chunk {number} is older than the commit: the index is stale"


def _chunk_problem(array: ShardedArray, stored: bytes, nbytes: int) -> str | None:
    data = stored[:-CRC_BYTES]
    if len(stored) < max(nbytes, CRC_BYTES + 1):
        return "is cut off"
    if not intact(stored):
        return "is damaged: wrong checksum"
    # a Blosc frame says at byte 4 how long it is decoded
    decoded = int.from_bytes(data[4:8], "little") if array.compressed else len(data)
    if array.chunk_nbytes not in (None, decoded):
        return f"has {decoded} bytes instead of {array.chunk_nbytes}"
    return None


def _hdf5_problems(
    array: ShardedArray, shard: int, shard_file: IO[bytes], index: NDArray[np.uint64]
) -> Iterator[str]:
    """HDF5 finds the same chunks at the same places, and can decode them."""
    path = array.path(shard)
    try:
        with h5py.File(path if isinstance(path, Path) else shard_file, "r", locking=False) as file:
            data = file["data"]
            expected = (array.rows(shard), *array.commit.shape[1:])
            grown = not array.finished and shard not in array.commit.sealed
            shape = (min(len(data), expected[0]), *data.shape[1:]) if grown else data.shape
            if shape != expected or data.dtype != array.dtype:
                yield f"HDF5 sees {data.shape} {data.dtype} instead of {expected} {array.dtype}"
                return
            there: dict[int, tuple[int, int]] = {}
            data.id.chunk_iter(
                lambda chunk: there.__setitem__(
                    chunk.chunk_offset[0] // array.chunk_rows, (chunk.byte_offset, chunk.size)
                )
            )
            present = np.flatnonzero(index[:, 0] != MISSING)
            wanted = {
                int(number): (int(index[number, 0]), int(index[number, 1]) - CRC_BYTES)
                for number in present
            }
            if there != wanted:
                differ = [n for n in there.keys() | wanted.keys() if there.get(n) != wanted.get(n)]
                yield f"HDF5 and Zarr disagree where chunks {_ranges(sorted(differ))} lie"
            elif wanted:
                data[min(wanted) * array.chunk_rows]
    except (OSError, KeyError, RuntimeError) as error:
        yield f"its HDF5 side cannot be read: {error}"


def _ranges(numbers: list[int]) -> str:
    """`0-3, 7`: a list of numbers, short."""
    runs = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)

"""Shard files of a spool as objects: dense, at any moment a shard and an HDF5 file.

A chunk that is whole is in the object where it is in the file, in every version of it. Behind these
lie the versions of chunks that are not whole, never where one of another chunk was in an object
before: a reader that has an older index finds a chunk that fits it, or one whose checksum is wrong.
(That a whole chunk comes to begin just where there was a version of another one, and is as long to
the byte, could happen only to slices of several rows that are compressed.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import Damaged
from zwriter.store.array_state import (
    Places,
    chunks_in_shard,
    codec_of,
    open_shards,
    shard_chunks,
    shard_key,
)
from zwriter.store.hdf5_header import hdf5_metadata
from zwriter.store.shard_index import (
    FIRST_CHUNK,
    MISSING,
    USER_BLOCK,
    end_of,
    index_at_commit,
    index_bytes,
    index_nbytes,
    read_index,
)

Lend = Callable[[int], AbstractContextManager[memoryview]]
"""Gives memory for as many bytes."""


@dataclass(frozen=True, slots=True)
class ShardAt:
    """A shard as a commit has it. partial: where versions of chunks are that are not whole; end:
    behind the last chunk that is; whole: how many are; rows: how many it has, with those to which
    nothing was written. sealed: its checksum, if it is sealed."""

    path: Path
    number: int
    partial: Places
    end: int
    whole: int
    rows: int
    sealed: int | None

    @property
    def nbytes(self) -> int:
        """What its chunks take."""
        return chunks_nbytes(self.partial, self.end)

    @property
    def mark(self) -> Any:
        """Differs from that of any other moment of this shard."""
        grown = self.end, self.whole, self.rows, self.partial
        return self.sealed if self.sealed is not None else grown


def chunks_nbytes(partial: Places, end: int) -> int:
    """What the chunks of a shard take: the whole ones end at `end`."""
    return end - FIRST_CHUNK + sum(nbytes for _, nbytes in partial.values())


def shards_of(folder: Path, state: dict[str, Any], marks: dict[int, Any]) -> Iterator[ShardAt]:
    """The shards of an array, as its state in a commit says, that do not have these `marks`.

    Raises Damaged for a sealed one that cannot be read.
    """
    for shard in _open_shards(folder, state):
        if marks.get(shard.number) != shard.mark:
            yield shard
    for number, checksum in state["sealed"]:
        if marks.get(number) != checksum:
            path = folder / shard_key(state, number)
            yield ShardAt(path, number, {}, _sealed_end(path, state), 0, 0, checksum)


def _open_shards(folder: Path, state: dict[str, Any]) -> Iterator[ShardAt]:
    for at in open_shards(state):
        path = folder / shard_key(state, at.number)
        each = shard_chunks(state) * state["chunk_rows"]
        rows = min(state["shape"][0] - at.number * each, each)
        yield ShardAt(path, at.number, at.partial, at.end, at.whole, rows, None)


def decoded_chunks(
    folder: Path, state: dict[str, Any], numbers: Iterable[int]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Some chunks of an array as its state in a commit says, with their numbers; those to which
    nothing was written are left out.

    Raises Damaged if the spool has gone on since that.
    """
    codec, shape = codec_of(state), (state["chunk_rows"], *state["shape"][1:])
    for number, stored in _stored_chunks(folder, state, numbers):
        try:
            yield number, codec.decode(stored, shape)
        except (ValueError, RuntimeError) as error:
            raise Damaged(f"{folder}: {error}") from None


def _stored_chunks(
    folder: Path, state: dict[str, Any], numbers: Iterable[int]
) -> Iterator[tuple[int, bytes]]:
    open_ones = {shard.number: shard for shard in _open_shards(folder, state)}
    sealed, each = {number for number, _ in state["sealed"]}, shard_chunks(state)
    for number, of_shard in groupby(numbers, lambda chunk: chunk // each):
        if number not in open_ones and number not in sealed:
            continue  # groupby passes by what is not asked for
        path = folder / shard_key(state, number)
        fd = _open(path)
        try:
            shard = open_ones.get(number)
            index = _index_at(fd, shard, state) if shard else read_index(fd, each)
            for chunk in of_shard:
                offset, nbytes = index[chunk % each]
                if offset != MISSING:
                    yield chunk, os.pread(fd, int(nbytes), int(offset))
        except ValueError as error:
            raise Damaged(f"{path}: {error}") from None
        finally:
            os.close(fd)


def read_again(name: str, state: dict[str, Any], number: int) -> bool:
    """Whether who goes on with the array `name` of a signal reads chunks of a sealed shard: how far
    rows are filled, and a last chunk that is not full."""
    rows_each = shard_chunks(state) * state["chunk_rows"]
    return name == "length" or (number + 1) * rows_each > state["shape"][0]


def _sealed_end(path: Path, state: dict[str, Any]) -> int:
    fd = _open(path)
    try:
        return end_of(read_index(fd, shard_chunks(state)))
    except ValueError as error:
        raise Damaged(f"{path}: {error}") from None
    finally:
        os.close(fd)


@dataclass
class ShardObject:
    """What is sent of one shard, again and again until it is sealed."""

    owners: dict[int, int] = field(default_factory=dict)  # offset -> chunk whose version was there

    @contextmanager
    def version(
        self, shard: ShardAt, state: dict[str, Any], lend: Lend
    ) -> Iterator[tuple[memoryview, Places]]:
        """The object's bytes, in the block, and where in it the chunks are that are not whole.

        Raises Damaged if the file has gone on since the commit, and cannot tell any more.
        """
        places = {} if shard.sealed is not None else self._places(shard)
        ends = [offset + nbytes for offset, nbytes in places.values()]
        with lend(max([shard.end, *ends, FIRST_CHUNK])) as data:
            fd = _open(shard.path)
            try:
                if shard.sealed is not None:
                    _read_into(fd, data[: shard.end], 0)
                else:
                    _read_open(fd, data, shard, state, places)
            finally:
                os.close(fd)
            yield data, places

    def _places(self, shard: ShardAt) -> Places:
        places = {}
        at = shard.end + 1  # a whole chunk begins right at the end, or further away: `aligned`
        for number, (_, nbytes) in sorted(shard.partial.items()):
            while self.owners.setdefault(at, number) != number:
                at += 1
            places[number] = (at, nbytes)
            at += nbytes
        return places


def _read_open(
    fd: int, data: memoryview, shard: ShardAt, state: dict[str, Any], places: Places
) -> None:
    index = _index_at(fd, shard, state)
    for gap in (slice(FIRST_CHUNK), slice(shard.end, None)):
        data[gap] = bytes(len(data[gap]))
    _read_into(fd, data[FIRST_CHUNK : shard.end], FIRST_CHUNK)
    for number, (offset, nbytes) in places.items():
        _read_into(fd, data[offset : offset + nbytes], shard.partial[number][0])
        index[number] = offset, nbytes
    data[: index_nbytes(len(index))] = index_bytes(index)
    metadata = _hdf5_side(shard, state, index, len(data))
    data[USER_BLOCK : USER_BLOCK + len(metadata)] = metadata


def _index_at(fd: int, shard: ShardAt, state: dict[str, Any]) -> NDArray[np.uint64]:
    try:
        index = read_index(fd, shard_chunks(state))
    except ValueError as error:
        raise Damaged(f"{shard.path}: {error}") from None
    index = index_at_commit(index, chunks_in_shard(shard.number, state), shard.partial, shard.end)
    if np.count_nonzero(index[:, 0] < shard.end) != shard.whole:
        raise Damaged(f"{shard.path}: its index is not that of the commit")
    return index


def _hdf5_side(shard: ShardAt, state: dict[str, Any], index: NDArray[np.uint64], end: int) -> bytes:
    chunk = (state["chunk_rows"], *state["shape"][1:])
    return hdf5_metadata(codec_of(state), (shard.rows, *chunk[1:]), chunk, index, end)


def _read_into(fd: int, part: memoryview, offset: int) -> None:
    while part:
        count = os.preadv(fd, [part], offset)
        if not count:
            raise Damaged("a chunk is cut off")
        part, offset = part[count:], offset + count


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None

"""Arrays whose rows are written in any order and piece by piece (add_slice)."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import cast_exact, fill_value
from zwriter.store.array_state import codec_of
from zwriter.store.codecs import ChunkCodec
from zwriter.store.refill import Refill
from zwriter.store.sharded import ShardedArray

CHUNK = 256 * 1024  # small: a chunk is written anew at each commit that touched it
CACHE_BYTES = 64 * 1024 * 1024


class PlacedArray(ShardedArray):
    """Chunks that change stay in memory until they are whole, or there are too many of them."""

    def __init__(
        self,
        path: Path,
        codec: ChunkCodec,
        row_shape: tuple[int, ...],
        chunk_bytes: int | None,
        shard_bytes: int | None = None,
    ) -> None:
        row_bytes = max(math.prod(row_shape) * codec.dtype.itemsize, 1)
        chunk_rows = max(1, (chunk_bytes or CHUNK) // row_bytes)
        super().__init__(path, codec, row_shape, chunk_rows, shard_bytes)
        self._cache: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._dirty: set[int] = set()
        self._evicted: set[int] = set()  # that were written when memory was short, since `are_full`
        self._whole: set[int] = set()

    @classmethod
    def restored(
        cls, path: Path, state: dict[str, Any], shard_bytes: int | None = None
    ) -> PlacedArray:
        """The array as a commit describes it."""
        array = cls(path, codec_of(state), tuple(state["shape"][1:]), None, shard_bytes)
        array.restore(state)
        return array

    def write(self, row: int, column: int, piece: NDArray[Any]) -> None:
        """Set `piece` at [row, column:] (or, for 1-D arrays, at [row])."""
        if not piece.size and row < self.rows:
            return  # its chunk may be whole already
        number, local = divmod(row, self.chunk_rows)
        chunk = self._chunk(number)
        if self.row_shape:
            chunk[local, column : column + len(piece)] = piece
        else:
            chunk[local] = piece
        self._dirty.add(number)
        self.rows = max(self.rows, row + 1)

    def _chunk(self, number: int) -> NDArray[Any]:
        if number not in self._cache:
            # a chunk nobody wrote reads as fill value from an index that says "missing"
            known = number * self.chunk_rows < self.rows
            stored = self.read_chunk(number) if known else self._empty()
            self._cache[number] = stored.copy()
            self._evict()
        self._cache.move_to_end(number)
        return self._cache[number]

    def _empty(self) -> NDArray[Any]:
        return np.full(self.chunk_shape, fill_value(self.dtype), self.dtype)

    def _evict(self) -> None:
        limit = max(CACHE_BYTES // (math.prod(self.chunk_shape) * self.dtype.itemsize), 2)
        while len(self._cache) > limit:
            number, chunk = next(iter(self._cache.items()))
            if number in self._dirty:
                self._put(number, chunk, whole=False)
                self._dirty.discard(number)
                self._evicted.add(number)
            del self._cache[number]

    def values(self) -> NDArray[Any]:
        """All rows, in memory: for small arrays."""
        chunks = [self.read_chunk(i) for i in range(-(-self.rows // self.chunk_rows))]
        return np.concatenate(chunks)[: self.rows] if chunks else np.zeros(0, self.dtype)

    def are_full(self, rows: NDArray[np.bool_]) -> None:
        """Say which of all rows will not change any more: chunks of such rows are whole."""
        for chunk in self._dirty | self._evicted:
            of_chunk = rows[chunk * self.chunk_rows : (chunk + 1) * self.chunk_rows]
            if len(of_chunk) == self.chunk_rows and of_chunk.all():
                self._whole.add(chunk)
        self._evicted.clear()

    def flush(self) -> None:
        """Write every chunk that has changed, so that `publish` shows it."""
        for number in sorted(self._dirty | self._whole):
            whole = number in self._whole
            self._put(number, self._chunk(number), whole=whole)
            if whole:
                del self._cache[number]
                self._evicted.discard(number)
        self._dirty.clear()
        self._whole.clear()

    def promoted(self, dtype: np.dtype[Any], refill: Refill) -> PlacedArray | None:
        """This array with another dtype, in the next generation; None if values would change."""
        codec = ChunkCodec(dtype, self.codec.name, self.codec.level)
        new = PlacedArray(self.path, codec, self.row_shape, None, self._shard_bytes)
        new.generation = self.generation + 1
        new._cut_in_chunks(self.chunk_rows)
        for number in range(-(-self.rows // self.chunk_rows)):
            cast = cast_exact(self._chunk(number), dtype)
            if cast is None:
                new.close()
                return None
            new._cache[number] = cast = cast.copy()
            refill(number * self.chunk_rows, cast)
            new._dirty.add(number)
            new._evict()
        new.rows = self.rows
        self.close()
        return new

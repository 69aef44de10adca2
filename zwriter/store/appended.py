"""Arrays whose rows are added at the end (add)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from zwriter.assemble import cast_exact, fill_value
from zwriter.assemble.gather import CHUNK_BYTES
from zwriter.assemble.values import NUMERIC
from zwriter.store.ahead import ChunksAhead
from zwriter.store.array_state import codec_of
from zwriter.store.codecs import ChunkCodec
from zwriter.store.refill import Refill
from zwriter.store.shard import LARGE
from zwriter.store.sharded import Array, ShardedArray

SLOW_CHUNK = 4096
ROOM = 128 * 1024 * 1024  # bytes that are mapped at once


class AppendArray(ShardedArray):
    """Rows are added at the end. Rows of a chunk that is not full wait in memory for the next
    `flush`.

    The chunk is chosen when the first rows are flushed, from the rate seen until then, unless it is
    given.
    """

    def __init__(
        self,
        path: Path,
        codec: ChunkCodec,
        row_shape: tuple[int, ...],
        chunk_bytes: int | None,
        shard_bytes: int | None = None,
    ) -> None:
        super().__init__(path, codec, row_shape, 0, shard_bytes)
        self._chunk_bytes = chunk_bytes
        self._born = time.monotonic()
        self._waiting: list[Array] = []
        self._waiting_rows = 0
        self._tail: Array | None = None
        self._spare: Array | None = None  # a tail that was written: its memory is warm
        self._padded = False  # whether the tail is fill value behind its rows
        self._flushed_rows = 0
        self._ahead: ChunksAhead | None = None  # since the last `flush`
        self._can_map = True

    @classmethod
    def restored(
        cls,
        path: Path,
        state: dict[str, Any],
        chunk_bytes: int | None,
        shard_bytes: int | None = None,
    ) -> AppendArray:
        """The array as a commit describes it."""
        array = cls(path, codec_of(state), tuple(state["shape"][1:]), chunk_bytes, shard_bytes)
        array.restore(state)
        array._flushed_rows = array.rows
        filled = array.rows % array.chunk_rows if array.chunk_rows else 0
        if filled:
            array._tail = array.read_chunk(array.rows // array.chunk_rows).copy()
        return array

    @property
    def total_rows(self) -> int:
        """All rows that were appended, also those that wait for a chunk to be chosen."""
        return self.rows + self._waiting_rows

    def append(self, rows: Array) -> None:
        """Add `rows` (k, *row_shape), of the array's dtype. Whole chunks are written at once."""
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        enough = self._chunk_bytes or CHUNK_BYTES
        if self.chunk_rows or self._waiting_rows * self.row_bytes >= enough:
            self._take_waiting()

    def ahead(self, values: Array) -> ChunksAhead | None:
        """Room in the file for the next `values`, a row each, and others like them, as many as fit
        into their shard. None if they are no chunks just as they are, or no numbers, if they are
        compressed, if the shard is not begun yet, or leaves nothing free before a chunk, or if this
        cannot be done.
        """
        dtype, shape = values.dtype, values.shape[1:]
        same = dtype == self.dtype and dtype.num == self.dtype.num and shape == self.row_shape
        just_as_they_are = same and dtype.kind in NUMERIC and self.codec.name == "none"
        if not just_as_they_are or self.chunk_rows != 1:
            return None
        number, inside = divmod(self.rows, self.shard_chunks)
        shard = self._shards.get(number)
        refused = self._ahead is not None and self._ahead.refused
        if shard is None or not shard.aligns or refused or not self._can_map:
            return None
        self.write_all()
        if self._ahead is not None and self._ahead.goes_on(values):
            return self._ahead
        room = min(self.shard_chunks - inside, max(1, ROOM // self.row_bytes))
        try:
            self._ahead = ChunksAhead(shard, self.codec, values, room)
        except OSError:
            self._can_map, self._ahead = False, None
        return self._ahead

    def _put(self, chunk: int, data: Array, *, whole: bool) -> bool:
        place = self._ahead.accepted(data) if self._ahead is not None else None
        if place is None:
            return super()._put(chunk, data, whole=whole)
        number, inside = divmod(chunk, self.shard_chunks)
        self._shards[number].accept(inside, place)
        return True

    def append_fill(self, rows: int) -> None:
        """Add `rows` rows of fill value."""
        fill = np.asarray(fill_value(self.dtype), self.dtype)
        self.append(np.broadcast_to(fill, (rows, *self.row_shape)))

    def _choose_chunk(self) -> None:
        elapsed = max(time.monotonic() - self._born, 0.1)
        wanted = self._chunk_bytes or min(
            max(int(self._waiting_rows / elapsed * 10) * self.row_bytes, SLOW_CHUNK), CHUNK_BYTES
        )
        chunk_rows = max(1, wanted // self.row_bytes)
        first = self._waiting[0]
        whole = first.flags.c_contiguous and first.nbytes >= LARGE and not self._chunk_bytes
        if whole and len(first) <= chunk_rows:
            chunk_rows -= chunk_rows % len(first)  # what comes fast is written as it comes
        self._cut_in_chunks(chunk_rows)

    def _take_waiting(self) -> None:
        """Whoever is interrupted, or refused, goes on where that was."""
        if not self.chunk_rows:
            self._choose_chunk()
        while self._waiting:
            rows, before = self._waiting[0], self.rows
            try:
                self._take(rows)
            finally:
                taken = self.rows - before
                self._waiting[0] = rows[taken:]
                self._waiting_rows -= taken
            del self._waiting[0]

    def _take(self, rows: Array) -> None:
        size = self.chunk_rows
        while len(rows):
            filled = self.rows % size
            if not filled and len(rows) >= size and rows[:size].flags.c_contiguous:
                self._put(self.rows // size, rows[:size], whole=True)
                taken = size
            else:
                if self._tail is None:
                    self._tail, self._spare = self._spare, None
                if self._tail is None:
                    self._tail = np.empty(self.chunk_shape, self.dtype)
                self._padded = self._padded and filled > 0
                taken = min(size - filled, len(rows))
                self._tail[filled : filled + taken] = rows[:taken]
                if filled + taken == size and not self._put(
                    self.rows // size, self._tail, whole=True
                ):
                    self._tail = None
            self.rows += taken
            rows = rows[taken:]

    def _written(self, data: Array) -> None:
        if data.base is None and data is not self._tail and data.flags.writeable:
            self._spare = data

    def flush(self) -> None:
        """Write the rows of the last, partial chunk, so that `publish` shows them."""
        self._ahead = None
        if self._waiting:
            self._take_waiting()
        if self.rows == self._flushed_rows:
            return
        filled = self.rows % (self.chunk_rows or 1)
        if filled and self._tail is not None:
            if not self._padded:
                self._tail[filled:] = fill_value(self.dtype)
                self._padded = True
            self._put(self.rows // self.chunk_rows, self._tail, whole=False)
        self._flushed_rows = self.rows

    def blocks(self) -> Iterator[Array]:
        """All rows that were taken, chunk by chunk."""
        for chunk in range(-(-self.rows // self.chunk_rows) if self.chunk_rows else 0):
            left = self.rows - chunk * self.chunk_rows
            if left < self.chunk_rows and self._tail is not None:
                yield self._tail[:left]
            else:
                yield self.read_chunk(chunk)

    def values(self) -> Array:
        """All rows that were taken, in memory: for small arrays."""
        none = np.empty((0, *self.row_shape), self.dtype)
        return np.concatenate([none, *self.blocks(), *self._waiting])

    def promoted(self, dtype: np.dtype[Any], refill: Refill) -> AppendArray | None:
        """This array with another dtype, in the next generation; None if values would change."""
        codec = ChunkCodec(dtype, self.codec.name, self.codec.level)
        new = AppendArray(self.path, codec, self.row_shape, self._chunk_bytes, self._shard_bytes)
        new.generation = self.generation + 1
        new._cut_in_chunks(self.chunk_rows)
        for block in chain(self.blocks(), self._waiting):
            cast = cast_exact(block, dtype)
            if cast is None:
                new.close()
                return None
            refill(new.total_rows, cast)
            new.append(cast)
        self.close()
        return new

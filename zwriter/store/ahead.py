"""Large values go from a program's memory to where the next chunks will be, without a copy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.store.codecs import CRC_BYTES, ChunkCodec
from zwriter.store.shard import Place, ShardFile

Array = NDArray[Any]


class ChunksAhead:
    """Room for `room` values of a signal's next updates, each of which is a chunk just as it is.

    It is used like an array of them: they are set one after the other, and got as a slice, which is
    the mapped part of the file. Values of it that are put then are not written again. Nothing else
    may be put into `shard` in between; what is put instead is written over them.

    Raises OSError if files cannot be mapped here.
    """

    def __init__(self, shard: ShardFile, codec: ChunkCodec, shape: tuple[int, ...], room: int):
        self._shard, self._codec, self._shape, self._room = shard, codec, shape, room
        self._begin = shard.low
        self._nbytes = math.prod(shape) * codec.dtype.itemsize + CRC_BYTES
        self._values: Array | None = None
        self._accepted = 0
        shard.mapped(0, CRC_BYTES)

    def __len__(self) -> int:
        return self._room

    def __setitem__(self, number: int, value: Array) -> None:
        """Write a value. Raises OSError, and has no effect, if it has to go the usual way."""
        try:
            self._shard.write_ahead(self._codec.encode(value), self._place(number))
        except Exception as error:  # which will come again where it is known what to do
            raise OSError("not written ahead") from error

    def __getitem__(self, first: slice) -> Array:
        """The first `first.stop` values, (n, *shape), read-only."""
        count: int = first.stop
        stored = self._shard.at(self._begin, count * self._nbytes)
        chunks = np.frombuffer(stored, np.uint8).reshape(count, self._nbytes)[:, :-CRC_BYTES]
        self._values = chunks.view(self._codec.dtype).reshape(count, *self._shape)
        return self._values

    def _place(self, number: int) -> Place:
        return Place(self._begin + number * self._nbytes, self._nbytes)

    def accepted(self, data: Array) -> Place | None:
        """Where `data` is, if it is the next of the values that were got."""
        if self._values is None or self._accepted == len(self._values):
            return None
        if not np.may_share_memory(data, self._values[self._accepted]):
            return None
        self._accepted += 1
        return self._place(self._accepted - 1)

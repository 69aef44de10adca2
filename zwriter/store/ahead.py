"""Large values go from where they are to where the next chunks will be, without a copy, and need no
other memory from then on.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble.gather import ALONE, SHARE
from zwriter.model import Run, Update
from zwriter.raw import Messages
from zwriter.store.codecs import CRC_BYTES, ChunkCodec
from zwriter.store.shard import Place, ShardFile
from zwriter.store.shard_index import MOST_FREE, address_of, aligned

Array = NDArray[Any]


class ChunksAhead:
    """Room for `room` values of a signal's next updates, each of which is a chunk just as it is.

    It is used like an array of them, which is the mapped part of the file: they are set one after
    the other, and got as a slice, read-only. Those that are put then, in order, are not written
    again. Nothing else may be put into `shard` in between; what is put instead is written over
    them. refused: whether one could not be written.

    like: (k, *shape), the first of them, or all; others are as far apart in memory, or lie alike in
    their cache lines: if not, they are copied more slowly.

    Raises OSError if that cannot be done here.
    """

    def __init__(self, shard: ShardFile, codec: ChunkCodec, like: Array, room: int):
        self._shard, self._codec = shard, codec
        self._nbytes = like[0].nbytes + CRC_BYTES
        self._mapped_from, self._room = shard.low, room
        self._accepted = 0
        self._mapped = shard.mapped(shard.low, room * (self._nbytes + MOST_FREE))
        self.refused = False
        self._lie_like(like)

    def goes_on(self, like: Array) -> bool:
        """Whether there is room behind those that were put, and nothing else was; it is all that
        there is then.
        """
        if self.refused or self._accepted == self._room or self._end != self._shard.low:
            return False
        self._lie_like(like)
        return True

    @property
    def _end(self) -> int:
        """Behind those that were put."""
        return self._place(self._accepted - 1).end if self._accepted else self._empty_until

    def _lie_like(self, like: Array) -> None:
        """Lay out the room that is left for values at addresses like these."""
        self._room, self._accepted = self._room - self._accepted, 0
        self._empty_until = self._shard.low
        self._begin = aligned(self._shard.low, address_of(like))
        self._step = aligned(self._nbytes, like.strides[0] if len(like) > 1 else 0)
        shape, strides = (self._room, self._nbytes - CRC_BYTES), (self._step, 1)
        at = self._begin - self._mapped_from
        chunks: Array = np.ndarray(shape, np.uint8, self._mapped, at, strides)
        self._values: Array = chunks.view(self._codec.dtype).reshape(self._room, *like.shape[1:])

    def __len__(self) -> int:
        return len(self._values)

    def __setitem__(self, number: int, value: Array) -> None:
        """Write a value. Raises OSError, and has no effect, if it has to go the usual way."""
        place = self._place(number)
        try:
            self._shard.write_ahead(self._codec.encode(value), place)
        except Exception as error:  # which will come again where it is known what to do
            self.refused = True
            raise OSError("not written ahead") from error

    def __getitem__(self, first: slice) -> Array:
        return self._values[first]

    def _place(self, number: int) -> Place:
        if number >= len(self):
            raise IndexError(number)
        return Place(self._begin + number * self._step, self._nbytes)

    def accepted(self, data: Array) -> Place | None:
        """Where `data` is, if it is the next of the values that are put."""
        if self._accepted == len(self) or not np.may_share_memory(
            data, self._values[self._accepted]
        ):
            return None
        self._accepted += 1
        return self._place(self._accepted - 1)


def _are_large_messages(item: Update | Run) -> bool:
    """Whether it is messages with a large value each and not much else."""
    if type(item) is not Run or not isinstance(item.messages, Messages):
        return False
    value: int = item.values[0].nbytes
    rest = item.messages.length - value  # which stays in memory, for each signal of the message
    return value > ALONE and rest * SHARE <= value and item.messages.holds(item.values)


def large_ones_apart(items: list[Update | Run]) -> list[Run | list[Update | Run]]:
    """Each run of large messages by itself, what is between them in a list."""
    if Run not in set(map(type, items)):
        return [items]
    parts: list[Any] = []
    for large, group in groupby(items, key=_are_large_messages):
        same = list(group)
        parts += same if large else [same]
    return parts


def written_ahead(run: Run, room: ChunksAhead) -> Run:
    """Large messages, their values written into `room`, and not in memory any more.

    Raises OSError, without effect, if they have to go the usual way.
    """
    assert isinstance(run.messages, Messages)
    for number, value in enumerate(run.values):
        room[number] = value
    values = room[: len(run)]
    return replace(run, values=values, messages=run.messages.around(run.values, values))

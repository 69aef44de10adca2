"""Large values go from where they are to where the next chunks will be, without a copy, and need no
other memory from then on.
"""

from __future__ import annotations

import math
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

Array = NDArray[Any]


class ChunksAhead:
    """Room for `room` values of a signal's next updates, each of which is a chunk just as it is.

    It is used like an array of them, which is the mapped part of the file: they are set one after
    the other, and got as a slice, read-only. Those that are put then, in order, are not written
    again. Nothing else may be put into `shard` in between; what is put instead is written over
    them. refused: whether one could not be written.

    Raises OSError if that cannot be done here.
    """

    def __init__(self, shard: ShardFile, codec: ChunkCodec, shape: tuple[int, ...], room: int):
        self._shard, self._codec = shard, codec
        self._begin = shard.low
        self._nbytes = math.prod(shape) * codec.dtype.itemsize + CRC_BYTES
        stored = shard.mapped(self._begin, room * self._nbytes)
        chunks = stored.reshape(room, self._nbytes)[:, :-CRC_BYTES]
        self._values: Array = chunks.view(codec.dtype).reshape(room, *shape)
        self._accepted = 0
        self.refused = False

    def goes_on(self) -> bool:
        """Whether there is room behind those that were put, and nothing else was; it is all that
        there is then.
        """
        begin, taken = self._begin + self._accepted * self._nbytes, self._accepted
        if self.refused or taken == len(self) or begin != self._shard.low:
            return False
        self._begin, self._values, self._accepted = begin, self._values[taken:], 0
        return True

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
        return Place(self._begin + number * self._nbytes, self._nbytes)

    def accepted(self, data: Array) -> Place | None:
        """Where `data` is, if it is the next of the values that are put."""
        if self._accepted == len(self) or not np.may_share_memory(
            data, self._values[self._accepted]
        ):
            return None
        self._accepted += 1
        return self._place(self._accepted - 1)


def _is_large_message(item: Update | Run) -> bool:
    """Whether it is a message with a large value and not much else."""
    if type(item) is not Run or not isinstance(item.messages, Messages) or len(item) > 1:
        return False
    value: int = item.values.nbytes
    rest = item.messages.length - value  # which stays in memory, for each signal of the message
    return value > ALONE and rest * SHARE <= value and item.messages.holds(item.values)


def large_ones_apart(items: list[Update | Run]) -> list[Run | list[Update | Run]]:
    """Each large message by itself, what is between them in a list."""
    if Run not in set(map(type, items)):
        return [items]
    parts: list[Any] = []
    for large, group in groupby(items, key=_is_large_message):
        same = list(group)
        parts += same if large else [same]
    return parts


def written_ahead(run: Run, room: ChunksAhead) -> Run:
    """A large message, its value written into `room`, and not in memory any more.

    Raises OSError, without effect, if it has to go the usual way.
    """
    assert isinstance(run.messages, Messages)
    room[0] = run.values[0]
    values = room[:1]
    return replace(run, values=values, messages=run.messages.around(run.values, values))

"""Large chunks are encoded and written side by side, in threads that all arrays share: codecs,
and writing, free the GIL.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from zwriter.store.encoder import Encoder
from zwriter.store.shard import Place, ShardFile
from zwriter.store.tasks import THREADS, Task, Threads

_AHEAD = 2 * THREADS  # chunks of an array that are on their way

_shared = {"threads": Threads()}
# threads do not come along
os.register_at_fork(after_in_child=lambda: _shared.update(threads=Threads()))
atexit.register(lambda: _shared["threads"].end())


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk on its way into a shard, and its `data`, which must not change until it is there."""

    shard: ShardFile
    number: int
    data: NDArray[Any]
    place: Task[Place]


class OnTheirWay:
    """The large chunks of one array that are being written."""

    def __init__(self) -> None:
        self._chunks: deque[_Chunk] = deque()

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def many(self) -> bool:
        """Whether there are enough of them to keep all threads busy."""
        return len(self._chunks) >= _AHEAD

    def send(
        self, encoder: Encoder, shard: ShardFile, number: int, data: NDArray[Any], *, whole: bool
    ) -> None:
        """Have a chunk written; the shard knows of it once it has come out of `next`."""

        def write() -> Place:
            return shard.write(encoder.encode(data, whole=whole), whole=whole)

        task = Task(write)
        self._chunks.append(_Chunk(shard, number, data, task))
        _shared["threads"].begin(task)  # now: an interrupt leaves none that is not known

    def next(self) -> NDArray[Any]:
        """Wait for the oldest one; its data. Raises what encoding raised; if the disk refused it,
        it is written here and now, as patiently as anything else. So it is if no thread begins with
        it soon: perhaps another disk hangs for all of them.
        """
        chunk = self._chunks[0]
        chunk.shard.take(chunk.number, chunk.place.result())
        self._chunks.popleft()  # not sooner: an interrupt must not lose it
        return chunk.data

    def has(self, data: NDArray[Any]) -> bool:
        """Whether one of them is of this array: after an interrupt, two may be."""
        return any(chunk.data is data for chunk in self._chunks)

    def forget(self) -> None:
        """Drop all of them; none is written to any more."""
        for chunk in self._chunks:
            chunk.place.drop()
        self._chunks.clear()

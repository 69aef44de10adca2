"""Updates that a program makes one by one, gathered into runs: a call then costs a copy of its
value and about a microsecond, and a run is written in one step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble.values import NUMERIC
from zwriter.model import Add, Run, stored_as_they_come

CHUNK_BYTES = 2 * 1024 * 1024  # a chunk of what comes fast, which is then written as it lies here
CHUNKS = 4  # in a block, which is a run: that costs as much as dozens of values
SMALL = 64 * 1024  # bytes: values that are as large, or larger, are in blocks of a chunk
PIECE_BYTES = 16 * 1024 * 1024
FIRST_BYTES = 64 * 1024  # a block for what may end soon: of large ones, each touched page is large
MOST = 8192  # updates in a run
ALONE = 1024 * 1024  # bytes: larger values are chunks by themselves: of what comes fast, of 2 MiB
SHARE = 8  # of what it is, that a value in a file counts as: it is kept if its signal fails
_SCALARS: dict[type, np.dtype[Any]] = {float: np.dtype("f8"), int: np.dtype("i8")}

Key = tuple[np.dtype[Any], tuple[int, ...]]


class Room(Protocol):
    """Where values are gathered, like an array of them; what raises OSError has no effect."""

    def __len__(self) -> int: ...
    def __setitem__(self, number: int, value: Any, /) -> None: ...
    def __getitem__(self, first: slice, /) -> NDArray[Any]: ...


_NO_ROOM: Room = np.empty(0)

Ahead = Callable[[str, str, Add, NDArray[Any]], Room | None]
"""Where values of a device's signal, of a mode, go without a copy, if anywhere: these (1, *shape),
and others like them."""


class Blocks:
    """Memory that is used again: new memory is slow at first touch, and frames are large.

    It is taken in pieces that numpy asks large pages for; what is never lent is never touched.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[Key, int], list[NDArray[Any]]] = {}
        self._lent: defaultdict[tuple[Key, int], list[NDArray[Any]]] = defaultdict(list)

    def lend(self, key: Key, count: int) -> NDArray[Any]:
        """An array of `count` values of a dtype and shape; what is in it is anything."""
        free = self._free.setdefault((key, count), [])
        if not free:
            nbytes = count * math.prod(key[1]) * key[0].itemsize
            blocks = max(1, PIECE_BYTES // nbytes) if nbytes > FIRST_BYTES else 1
            free.extend(np.empty((blocks, count, *key[1]), key[0]))
        block = free.pop(0)
        self._lent[key, count].append(block)
        return block

    def take_back(self) -> None:
        """Nobody needs any longer what was lent; what was free all the time is let go."""
        self._free, self._lent = dict(self._lent), defaultdict(list)


class Gather:
    """Consecutive `add` updates of one signal, alike but for their values."""

    def __init__(self, device: str, signal: str, example: Any, said: Any, timestamp: Any) -> None:
        self._said = list(said) if isinstance(said, list) else said
        self._kind, self._stamp = type(example), type(timestamp)
        scalar = _SCALARS.get(self._kind)
        self._dtype = None if scalar else example.dtype
        self._shape = None if scalar else example.shape
        self.key: Key = (scalar or example.dtype, self._shape or ())
        self.of = device, signal, Add((None, *self.key[1]) if said is None else tuple(said))
        self.value_bytes: int = scalar.itemsize if scalar else example.nbytes
        self.held_bytes = self.value_bytes  # by each value, until it is committed
        self._chunk = max(1, min(MOST, CHUNK_BYTES // self.value_bytes))
        chunks = CHUNKS if self.value_bytes < SMALL else 1
        self._block = self._chunk * max(1, min(chunks, MOST // self._chunk))
        self._values: Room = _NO_ROOM
        self._stamps: list[float] = []
        self._count = 0
        self._first = max(1, min(self._chunk, FIRST_BYTES // self.value_bytes))
        self._left = self._chunk  # until what was gathered in all is whole chunks
        self._most = self._first

    def take(
        self, value: Any, timestamp: Any, said: Any, lend: Callable[[Gather, Any], Room]
    ) -> bool:
        """Keep the value; False, and nothing done, if it is not like those before, or cannot be
        kept where these are.

        said: `max_shape` as the program gave it, None for the shape of the value.
        """
        if type(value) is not self._kind or (said is not self._said and said != self._said):
            return False
        if self._shape is not None and (value.shape != self._shape or value.dtype != self._dtype):
            return False
        if type(timestamp) is not self._stamp:
            return False
        count = self._count
        if not count:
            self._values = lend(self, value)
        try:
            self._values[count] = value
        except (OverflowError, IndexError, OSError):  # an index: full, and an interrupt came
            return False
        if timestamp is not None:
            self._stamps[count:] = (timestamp,)  # so that an interrupt leaves none behind
        self._count = count + 1
        return True

    def go_to(self, room: Room | None, share: int, blocks: Blocks) -> Room:
        """Have the next values in `room`, where each counts as one in `share`, or in a block: a
        large one if one after another is full. Which it is.
        """
        if room is not None:
            self._most, self.held_bytes = len(room), self.value_bytes // share
            return room
        self.held_bytes = self.value_bytes
        self._most = min(self._most, self._block)
        sizes = (self._first, self._chunk, self._block)
        return blocks.lend(self.key, next(size for size in sizes if self._most <= size))

    @property
    def full(self) -> bool:
        return self._count == self._most

    def run(self) -> Run | None:
        """What was gathered, if anything; the next update begins another run."""
        if not self._count:
            self._values = _NO_ROOM
            return None
        values = self._values[: self._count]
        stamps = np.array(self._stamps[: self._count]) if self._stamps else None
        run = Run(*self.of, values, stamps, None, "", None)
        full, self._left = self.full, (self._left - self._count) % self._chunk or self._chunk
        if not full:
            self._most = min(self._first, self._left)
        else:
            self._most = self._block if self._left == self._chunk else self._left
        self._values, self._stamps, self._count = _NO_ROOM, [], 0
        return run


class Gathering:
    """All signals that a program adds to. `ready`: runs that are to be written, in order; `nbytes`:
    what all that is not committed counts as.

    ahead: where large values go without a copy, if all before them were written; share: as one in
    so many they count then.
    """

    def __init__(self, ahead: Ahead, share: int) -> None:
        self.ready: list[Run] = []
        self.nbytes = 0
        self._closed = False
        self._gathers: dict[tuple[str, str], Gather] = {}
        self._blocks = Blocks()
        self._ahead, self._share = ahead, share
        self._lend = self._room_for  # bound once

    def _room_for(self, gather: Gather, value: Any) -> Room:
        large = gather.value_bytes > ALONE and not self.ready
        room = self._ahead(*gather.of, value[np.newaxis]) if large else None
        return gather.go_to(room, self._share, self._blocks)

    def add(self, device: str, signal: str, value: Any, timestamp: Any, said: Any) -> bool:
        """Take an update; False if it is of a kind that is written singly, after what is `ready`.

        said: `max_shape` as the program gave it, None for the shape of the value.
        """
        gather = self._gathers.get((device, signal))
        if gather is None or not gather.take(value, timestamp, said, self._lend):
            self.end(device, signal)
            if self._closed or not _can_be_gathered(value, said, timestamp):
                return False
            gather = Gather(device, signal, value, said, timestamp)
            if not gather.take(value, timestamp, said, self._lend):
                return False
            self._gathers[device, signal] = gather
        self.nbytes += gather.held_bytes
        if gather.full:
            self._make_ready(gather)
        return True

    def end(self, device: str, signal: str) -> None:
        """Updates of another kind follow: what there is of the signal is to be written first."""
        gather = self._gathers.get((device, signal))
        if gather is not None:
            self._make_ready(gather)
            del self._gathers[device, signal]

    def end_all(self) -> None:
        """All there is is to be written now."""
        for gather in self._gathers.values():
            self._make_ready(gather)

    def _make_ready(self, gather: Gather) -> None:
        run = gather.run()
        if run is not None:
            self.ready.append(run)

    def close(self) -> None:
        """Take nothing more."""
        self._gathers.clear()
        self._closed = True

    def committed(self) -> None:
        """All that was ready is committed: nobody holds its values any more."""
        self._blocks.take_back()
        self.nbytes = 0


def _is_open_shape(said: Any) -> bool:
    """Whether it is a shape as it should be, with any number of rows."""
    if type(said) not in (list, tuple) or not said or said[0] is not None:
        return False
    return all(type(size) is int for size in said[1:])


def _can_be_gathered(value: Any, said: Any, timestamp: Any) -> bool:
    """Whether such updates are rows of one shape, numbers, each with one timestamp or none."""
    if type(timestamp) not in (float, type(None)):
        return False
    if said is not None and not _is_open_shape(said):
        return False
    if type(value) in _SCALARS:
        return True
    return (
        type(value) is np.ndarray
        and value.dtype.kind in NUMERIC
        and value.dtype.isnative
        and stored_as_they_come(value.dtype)
        and value.nbytes > 0
    )

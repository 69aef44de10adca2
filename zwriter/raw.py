"""Messages as they came, where they lie in memory. Nothing but numpy is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Raw = TypeVar("Raw", bytes, memoryview)

_ENDS = 4096


def ends_of(raw: Raw) -> tuple[Raw, Raw]:
    """The first and the last bytes of a message, or all of it: they tell it from others."""
    return raw[:_ENDS], raw[-_ENDS:]


Entry = Callable[[int], str]
"""Gives the id of message i of some."""


@dataclass(frozen=True, slots=True)
class IdsBefore:
    """Ids of messages that lie before them: in `nbytes` bytes before each, from where `reader`
    reads them, given memory, starts and length.
    """

    nbytes: int
    reader: Callable[[NDArray[np.uint8], NDArray[np.int64], int], Entry]


class Messages:
    """Consecutive messages of a stream, each `length` bytes, where they lie in `memory`.

    memory: (n,) uint8, which does not change any more; starts: (k,) where each message begins; ids:
    where those lie, or what gives that of message i; step: from each to the next, 0 if that varies,
    -1 if it is not known.
    """

    __slots__ = ("_entry", "_memory", "_starts", "_step", "ids", "length")

    def __init__(
        self,
        memory: NDArray[np.uint8],
        starts: NDArray[np.int64],
        length: int,
        ids: IdsBefore | Entry,
        step: int = -1,
    ) -> None:
        self._memory, self._starts, self.length, self._step = memory, starts, length, step
        self.ids = ids
        self._entry = ids.reader(memory, starts, length) if isinstance(ids, IdsBefore) else ids

    @classmethod
    def of(cls, entries: Sequence[tuple[str, bytes]]) -> Messages:
        """Of (id, message), all of one length."""
        memory = np.frombuffer(b"".join([raw for _, raw in entries]), np.uint8)
        length = len(entries[0][1])
        starts = np.arange(len(entries), dtype=np.int64) * length
        return cls(memory, starts, length, [entry for entry, _ in entries].__getitem__, length)

    @classmethod
    def together(cls, groups: Sequence[Messages]) -> Messages:
        """Those of all `groups`, of one length, copied with their ids: the memory of `groups` is
        not needed any more.
        """
        length, before = groups[0].length, min(group.before for group in groups)
        ids = groups[0].ids
        if not before:
            ids = [group.entry(i) for group in groups for i in range(len(group))].__getitem__
        memory = np.concatenate([group.part(-before, length) for group in groups])
        starts = np.arange(len(memory), dtype=np.int64) * memory.shape[1] + before
        return cls(memory.reshape(-1), starts, length, ids, memory.shape[1])

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def nbytes(self) -> int:
        return len(self) * self.length

    @property
    def before(self) -> int:
        """How many bytes before each message have its id; 0 if that is somewhere else."""
        return min(self.ids.nbytes, int(self._starts[0])) if isinstance(self.ids, IdsBefore) else 0

    def entry(self, i: int) -> str:
        """The id of message `i`, from 0."""
        return self._entry(i)

    @property
    def last(self) -> str:
        """The id of the last one."""
        return self._entry(len(self) - 1)

    def raw(self, i: int) -> memoryview:
        """Message `i`, from 0, not copied."""
        start = int(self._starts[i])
        return self._memory[start : start + self.length].data

    @property
    def last_ends(self) -> tuple[memoryview, memoryview]:
        """As `ends_of`, of the last one."""
        return ends_of(self.raw(len(self) - 1))

    def part_of(self, first: int, stop: int) -> Messages:
        """Those from `first` up to `stop`."""
        starts, step = self._starts[first:stop], self._step or -1
        return Messages(self._memory, starts, self.length, lambda i: self._entry(first + i), step)

    def pairs(self) -> list[tuple[str, bytes]]:
        """(id, message) of each, copied."""
        return [(self._entry(i), bytes(self.raw(i))) for i in range(len(self))]

    @property
    def evenly(self) -> bool:
        """Whether they lie at equal distances."""
        if self._step < 0:
            self._step = _distance(self._starts)
        return self._step > 0

    def joined(self) -> Messages:
        """The same, copied to lie one behind the other."""
        starts = np.arange(len(self), dtype=np.int64) * self.length
        memory = self.part(0, self.length).reshape(-1)
        return Messages(memory, starts, self.length, self._entry, self.length)

    def part(self, begin: int, end: int) -> NDArray[np.uint8]:
        """(k, end - begin): these bytes of each, from `-begin` bytes before it if that is negative;
        copied only where the messages do not lie at equal distances.
        """
        memory, width, start = self._memory, end - begin, max(begin, 0)
        if self.evenly:
            at = int(self._starts[0]) + begin
            return np.ndarray((len(self), width), np.uint8, memory, at, (self._step, 1))
        anywhere = (len(memory) - start - width + 1, width)
        windows = np.ndarray(anywhere, np.uint8, memory, start, (1, 1))
        result = windows[self._starts if begin >= 0 else self._starts + begin]
        return cast("NDArray[np.uint8]", result)

    def holds(self, values: NDArray[Any]) -> bool:
        """Whether `values` lie in the same memory."""
        return np.may_share_memory(values, self._memory)

    def around(self, values: NDArray[Any], elsewhere: NDArray[Any]) -> Around:
        """The same messages, when their `values` (k, *shape), which they hold, are `elsewhere`."""
        begin = values.ctypes.data - self._memory.ctypes.data - int(self._starts[0])
        end = begin + values[0].nbytes
        ids = [self._entry(i) for i in range(len(self))]
        raws = [self.raw(i) for i in range(len(self))]
        parts = [(bytes(raw[:begin]), bytes(raw[end:])) for raw in raws]
        first, last = self.last_ends
        return Around(ids, self.length, parts, elsewhere, (bytes(first), bytes(last)))


def _distance(starts: NDArray[np.int64]) -> int:
    """From each to the next, 0 if that varies."""
    if len(starts) < 2:
        return 1
    step = int(starts[1] - starts[0])
    even = np.arange(starts[0], starts[0] + step * len(starts), step)
    return step if starts.tobytes() == even.tobytes() else 0


@dataclass(frozen=True, slots=True)
class Around:
    """Consecutive messages of a stream, `length` bytes each: their `values` (k, *shape), and, in
    `parts`, what is before and behind each of these. Their memory is not needed any more.
    """

    ids: list[str]
    length: int
    parts: list[tuple[bytes, bytes]]
    values: NDArray[Any]
    last_ends: tuple[bytes, bytes]

    def __len__(self) -> int:
        return len(self.ids)

    def entry(self, i: int) -> str:
        return self.ids[i]

    def raw(self, i: int) -> bytes:
        """Message `i`, copied."""
        before, behind = self.parts[i]
        return b"".join((before, self.values[i].tobytes(), behind))

"""The nouns of zwriter. No I/O, and nothing but numpy is imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from zwriter.raw import Around, Messages

MaxShape = tuple[int | None, ...]


class ScanState(StrEnum):
    """`status` of a BEC ScanStatusMessage."""

    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    ABORTED = "aborted"
    HALTED = "halted"
    USER_COMPLETED = "user_completed"

    @property
    def ended(self) -> bool:
        return self not in (ScanState.OPEN, ScanState.PAUSED)

    @property
    def broken_off(self) -> bool:
        return self in (ScanState.ABORTED, ScanState.HALTED)


class Verdict(StrEnum):
    """What a finished scan is; never better than what is there."""

    COMPLETE = "COMPLETE"
    COMPLETE_WITH_GAPS = "COMPLETE_WITH_GAPS"
    ABORTED = "ABORTED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Add:
    """Append rows. `max_shape` as on the wire: leading None, then the shape of a row."""

    name: ClassVar = "add"
    max_shape: MaxShape


@dataclass(frozen=True, slots=True)
class AddSlice:
    """Extend row `index` at that row's own cursor. `max_shape` has two dimensions."""

    name: ClassVar = "add_slice"
    max_shape: MaxShape
    index: int


@dataclass(frozen=True, slots=True)
class Replace:
    """The value is the signal; the last one wins."""

    name: ClassVar = "replace"
    max_shape: ClassVar = None


Mode = Add | AddSlice | Replace


@dataclass(frozen=True, slots=True)
class Position:
    """Where in Redis something was read: a stream's key and the id of the entry."""

    stream: str
    entry: str

    @property
    def time(self) -> float:
        """When Redis got the entry, in seconds since 1970 of its clock."""
        return int(self.entry.partition("-")[0]) / 1000


@dataclass(frozen=True, slots=True)
class Source:
    """One message as it came: what goes to quarantine if something is wrong with it."""

    raw: bytes
    position: Position | None = None
    again: bool = False  # read again, from a stream that is not the one we know: perhaps written


@dataclass(frozen=True, slots=True)
class SourceInParts:
    """As `Source`, of a message whose value is in a file: it is put together when it is needed."""

    messages: Around
    which: int
    position: Position | None
    again: ClassVar = False

    @property
    def raw(self) -> bytes:
        return self.messages.raw(self.which)


class _OfMessage:
    """What came in a message, its `source`; None if a program made it."""

    __slots__ = ()
    source: Source | SourceInParts | None

    @property
    def nbytes(self) -> int:
        """Of its message."""
        return len(self.source.raw) if self.source else 0

    @property
    def position(self) -> Position | None:
        """Where its message was read: when it is taken, all up to it are. None if it had no place
        of its own.
        """
        return self.source.position if self.source and not self.source.again else None


@dataclass(frozen=True, slots=True)
class Update(_OfMessage):
    """One push of one signal.

    value: scalar, (nested) list or ndarray; timestamp: seconds since 1970, a list of them, None.
    number: the producer's running counter of this signal's updates, where it has one.
    """

    device: str
    signal: str
    mode: Mode
    value: Any
    timestamp: Any = None
    number: int | None = None
    source: Source | SourceInParts | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive updates of one signal that are alike but for their values.

    values: (k, *shape) of the k updates, perhaps neither contiguous nor aligned; timestamps: (k,)
    seconds, or None where there are none; numbers: (k,) the producer's, or None; messages: the k
    messages in `stream`, None if a program made the updates.
    """

    device: str
    signal: str
    mode: Mode
    values: Any
    timestamps: Any
    numbers: Any
    stream: str
    messages: Messages | Around | None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Of its messages, or of its values if a program made it."""
        if self.messages is None:
            return int(self.values.nbytes)
        return len(self) * self.messages.length

    @property
    def position(self) -> Position | None:
        """Of the last message: when the run is taken, all up to it are."""
        if self.messages is None:
            return None
        return Position(self.stream, self.messages.entry(len(self) - 1))

    def part(self, first: int, stop: int) -> Run:
        """The updates from `first` up to `stop`, of messages that are in memory."""
        assert isinstance(self.messages, Messages)
        stamps = None if self.timestamps is None else self.timestamps[first:stop]
        numbers = None if self.numbers is None else self.numbers[first:stop]
        values, messages = self.values[first:stop], self.messages.part_of(first, stop)
        return replace(self, values=values, timestamps=stamps, numbers=numbers, messages=messages)

    def updates(self) -> list[Update]:
        """The same, one by one."""
        stamps = [None] * len(self) if self.timestamps is None else self.timestamps.tolist()
        numbers = [None] * len(self) if self.numbers is None else self.numbers.tolist()
        return [
            Update(self.device, self.signal, self.mode, *fields)
            for fields in zip(self.values, stamps, numbers, self._sources(), strict=True)
        ]

    def _sources(self) -> Sequence[Source | SourceInParts | None]:
        if self.messages is None:
            return [None] * len(self)
        if isinstance(self.messages, Around):
            places = [Position(self.stream, entry) for entry in self.messages.ids]
            return [SourceInParts(self.messages, *at) for at in enumerate(places)]
        pairs = self.messages.pairs()
        return [Source(raw, Position(self.stream, entry)) for entry, raw in pairs]


def singly(items: Iterable[Update | Run]) -> list[Update]:
    """The updates of `items`, one by one."""
    found: list[Update] = []
    for item in items:
        found += item.updates() if isinstance(item, Run) else [item]
    return found


def kept(item: Update | Run) -> Update | Run:
    """What is kept of it once it is written, should it have to go to quarantine: of a run its
    messages, if there are any; they have the values, too.
    """
    if not isinstance(item, Run) or item.messages is None:
        return item
    nothing = (None,) * len(item)
    return Run(
        item.device, item.signal, item.mode, nothing, None, None, item.stream, item.messages
    )  # fmt: skip


def stored_as_they_come(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of this dtype are: larger ones are stored as smaller ones."""
    return dtype.itemsize <= (16 if dtype.kind == "c" else 8)


@dataclass(frozen=True, slots=True)
class Rejected(_OfMessage):
    """Something that could not be written, and why; no `signal` if the whole message is bad.

    update: what it was, if a program made it and there is no message.
    """

    device: str
    signal: str
    reason: str
    source: Source | SourceInParts | None = None
    time: float = 0.0
    update: Update | None = None


@dataclass(slots=True)
class Ledger:
    """What is known of one signal's updates, counted in updates; `short` and `cut` count rows.

    expected: how many the index list says there are (None: not known)
    repeated: sent twice with the same number and content, and written once
    restarts: how often the producer's counter began anew
    missing_ranges: [first, last] producer numbers that never came, inclusive
    unlisted: how many more never came, when there were too many ranges to list
    missing_rows: [first, last] rows of the arrays that stand for them, where room was left
    failed: why the signal is no longer written, if that is so
    """

    expected: int | None = None
    received: int = 0
    written: int = 0
    short: int = 0
    cut: int = 0
    promoted: int = 0
    quarantined: int = 0
    repeated: int = 0
    restarts: int = 0
    missing_ranges: list[list[int]] = field(default_factory=list)
    unlisted: int = 0
    missing_rows: list[list[int]] = field(default_factory=list)
    next_number: int = 0
    failed: str | None = None

    @property
    def missing(self) -> int:
        """Updates that are known to exist and were never read."""
        gaps = sum(last - first + 1 for first, last in self.missing_ranges) + self.unlisted
        told = self.received - self.repeated
        unread = 0 if self.expected is None else max(0, self.expected - told)
        return max(gaps, unread)

    @property
    def whole(self) -> bool:
        """Nothing missing, cut or quarantined: the verdict may be COMPLETE."""
        lost = self.received > self.written + self.quarantined + self.repeated
        return not (lost or self.missing or self.cut or self.quarantined or self.failed)

    def close(self) -> None:
        """The scan is over: what is announced beyond the last number never came."""
        last = (self.expected or 0) - 1
        if last >= self.next_number and self.next_number and not self.restarts:
            self.missing_ranges.append([self.next_number, last])
            self.next_number = last + 1

    def copy(self) -> Ledger:
        """Another one with the same counts and lists, five times as fast as `replace`."""
        return Ledger(*_FIELDS(self))

    def to_json(self) -> dict[str, Any]:
        """A copy: what is noted later does not change it."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        ranges, rows = self.missing_ranges.copy(), self.missing_rows.copy()
        return {
            **fields, "missing_ranges": ranges, "missing_rows": rows, "missing": self.missing
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Ledger:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


_FIELDS = attrgetter(*Ledger.__dataclass_fields__)

"""Many small messages of one stream at once: those that differ only in their values.

A device sends the same message again and again, with other numbers in it. One message is decoded
and walked through; where its values, timestamps and numbers lie, others of the same length have
theirs. All other bytes must be equal, or the messages are decoded one by one. A message costs a
comparison of its bytes then, instead of about 15 microseconds; and the value of a long one is not
copied out of it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import BadMessage
from zwriter.model import Add, Mode, Run, Source, Update, stored_as_they_come
from zwriter.protocol.codec import DATA, messages_in
from zwriter.protocol.updates import MAX_NUMBER, updates_in
from zwriter.raw import Messages

LONG = 64 * 1024  # bytes: messages from here on are not joined, their values stay where they are
FEWEST = 4  # of short messages, at once
_SHORT, _FEW = 4096, 16  # bytes of messages, and parts of them that do not change
_TEMPLATES = 16  # of one stream, kept: running numbers make messages longer now and then
_GIVE_UP = 8  # messages of as many lengths in a row that were not alike

_INTEGERS = {0xCC: ">u1", 0xCD: ">u2", 0xCE: ">u4", 0xCF: ">u8", 0xD0: ">i1", 0xD1: ">i2"}
_INTEGERS |= {0xD2: ">i4", 0xD3: ">i8"}
_UNSIGNED_AND_SMALL = ("<u1", ">u1", ">u2", ">u4")


@dataclass(frozen=True)
class Region:
    """Where a value lies, and how: `dtype` and `shape` in the message; `lead` bytes before each
    item say its type, and must be the same everywhere."""

    start: int
    dtype: str
    shape: tuple[int, ...] = ()
    lead: int = 0

    @cached_property
    def step(self) -> int:
        return self.lead + np.dtype(self.dtype).itemsize

    @cached_property
    def count(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def end(self) -> int:
        return self.start + self.step * self.count

    def constant(self) -> list[int]:
        """The bytes of the region that are not value."""
        return [self.start + i * self.step for i in range(self.count * bool(self.lead))]

    def read(self, messages: Messages) -> NDArray[Any]:
        """The values (k, *shape) of k messages, little-endian; not copied where that can be."""
        raw = messages.part(self.start, self.end)
        if self.lead:
            raw = raw.reshape(len(messages), self.count, self.step)[:, :, self.lead :]
            raw = np.ascontiguousarray(raw).reshape(len(messages), -1)
        values = raw.view(self.dtype).reshape(len(messages), *self.shape)
        if values.dtype.isnative:
            return values
        return values.astype(values.dtype.newbyteorder("<"))


@dataclass(frozen=True, slots=True)
class _Signal:
    """One signal of the template: its example, and where it has what changes."""

    example: Update
    value: Region
    timestamp: Region | None
    number: Region | None


class Alike:
    """The messages of one stream, by templates made from its own messages."""

    def __init__(self, stream: str, device: str) -> None:
        self._stream = stream
        self._device = device
        self._templates: dict[int, _Template | None] = {}
        self._failures = 0

    def runs(self, messages: Messages) -> list[Run] | None:
        """What `messages` become; None if they are not alike."""
        length = messages.length
        if self._failures >= _GIVE_UP or (len(messages) < FEWEST and length < LONG):
            return None
        if length not in self._templates:
            if len(self._templates) >= _TEMPLATES:
                self._templates.pop(next(iter(self._templates)))
            self._templates[length] = _template(bytes(messages.raw(0)), self._device)
        template = self._templates[length]
        runs = template.runs_of(messages, self._stream) if template else None
        if runs is None:
            self._failures += 1
            self._templates.pop(length)  # the next may be of another kind
        else:
            self._failures = 0
        return runs


class _Template:
    def __init__(self, raw: bytes, signals: list[_Signal]) -> None:
        self._signals = signals
        self._length = len(raw)
        self._of_rows = all(map(_is_row, signals))
        varies = np.zeros(len(raw), bool)
        for signal in signals:
            for region in (signal.value, signal.timestamp, signal.number):
                if region is not None:
                    varies[region.start : region.end] = True
                    varies[region.constant()] = False
        edges = np.flatnonzero(np.diff(varies, prepend=True, append=True))
        fixed = [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
        self._fixed = [((begin, end), raw[begin:end]) for begin, end in fixed]

    def reads(self, raw: bytes) -> bool:
        """Whether the message that it was made from gives what it gives when it is decoded."""
        runs = self._runs(Messages.of([("0-0", raw)]), "")
        return runs is not None and all(
            _same(run.updates()[0], signal.example)
            for run, signal in zip(runs, self._signals, strict=True)
        )

    def runs_of(self, messages: Messages, stream: str) -> list[Run] | None:
        """A run for each signal; of long messages one for each message, if their values would have
        to be copied to be rows of one array."""
        if self._length < LONG or (self._of_rows and messages.evenly):
            return self._runs(messages, stream)
        found: list[Run] = []
        for i in range(len(messages)):
            runs = self._runs(messages.part_of(i, i + 1), stream)
            if runs is None:
                return None
            found += runs
        return found

    def _runs(self, messages: Messages, stream: str) -> list[Run] | None:
        each, count = messages, len(messages)
        if not each.evenly and (self._length < _SHORT or len(self._fixed) > _FEW):
            each = each.joined()  # once, instead of part by part
        if any(each.part(*at).tobytes() != fixed * count for at, fixed in self._fixed):
            return None
        runs = []
        for signal in self._signals:
            example = signal.example
            timestamps = None if signal.timestamp is None else signal.timestamp.read(each)
            numbers = None if signal.number is None else signal.number.read(each)
            if signal.number is not None and numbers is not None:
                if _beyond(signal.number, numbers) or not _in_range(signal.number, numbers):
                    return None
                numbers = numbers.astype(np.int64)
            values = signal.value.read(each)
            if isinstance(example.value, int):
                if _beyond(signal.value, values):
                    return None
                values = values.astype(np.int64)
            runs.append(
                Run(
                    example.device, example.signal, example.mode, values, timestamps, numbers,
                    stream, messages,
                )
            )  # fmt: skip
        return runs


def _is_row(signal: _Signal) -> bool:
    """Whether each value is one row."""
    shape = signal.example.mode.max_shape
    return shape is not None and len(signal.value.shape) < len(shape)


def _same(one: Update, other: Update) -> bool:
    values = np.asarray(one.value), np.asarray(other.value)
    equal_nan = values[1].dtype.kind in "fc"
    return (
        np.array_equal(*values, equal_nan=equal_nan)
        and np.array_equal(
            np.asarray(one.timestamp, float), np.asarray(other.timestamp, float), equal_nan=True
        )
        and one.number == other.number
    )


def _beyond(region: Region, values: NDArray[Any]) -> bool:
    """Whether one of `values` is no integer as the region has them, or needs more than 63 bits."""
    limit = {"<u1": 2**7, ">u8": 2**63}.get(region.dtype)
    return limit is not None and bool((values >= limit).any())


def _in_range(region: Region, numbers: NDArray[Any]) -> bool:
    if region.dtype in _UNSIGNED_AND_SMALL:
        return True
    return bool(((numbers >= 0) & (numbers < MAX_NUMBER)).all())


def _template(raw: bytes, device: str) -> _Template | None:
    """What can be learnt from one message; None if it is not of a kind that can be repeated."""
    try:
        messages = messages_in(raw, DATA)
        examples = [u for message in messages for u in updates_in(message, device, Source(raw))]
        fields = _walk(raw)
        data = fields["__bec_codec__"]["data"]
        signals = []
        for example in examples:
            if not isinstance(example, Update) or not _repeatable(example.mode):
                return None
            reading = data["signals"][example.signal]
            value = _value_region(raw, reading["value"], example.value)
            timestamp = _float_region(raw, reading.get("timestamp"), example.timestamp)
            number = _number_region(raw, data["metadata"], example)
            signals.append(_Signal(example, value, timestamp, number))
        template = _Template(raw, signals)
        return template if signals and template.reads(raw) else None
    except (BadMessage, LookupError, TypeError, ValueError, RecursionError, struct.error):
        return None


def _repeatable(mode: Mode) -> bool:
    return isinstance(mode, Add) and mode.max_shape[0] is None and mode.max_shape != (None, None)


def _value_region(raw: bytes, node: Any, value: Any) -> Region:
    if isinstance(value, np.ndarray | np.generic):
        start, nbytes = node["__bec_codec__"]["data"][b"data"]
        if value.dtype.kind not in "biufc" or nbytes != value.nbytes or not nbytes:
            raise ValueError("no array of numbers")
        if not stored_as_they_come(value.dtype):
            raise TypeError("numbers that are stored as smaller ones")
        return Region(start, value.dtype.str, value.shape)
    if isinstance(value, list):
        return _list_region(raw, node, value)
    if isinstance(value, float):
        _check_double(raw, node)
        return Region(node[0] + 1, ">f8")
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer_region(raw, node)
    raise TypeError("a value that is neither a number nor an array")


def _list_region(raw: bytes, node: Any, value: list[Any]) -> Region:
    if set(map(type, value)) != {float}:
        raise TypeError("a list that is not of floats")
    for item in node:
        _check_double(raw, item)
    return Region(node[0][0], ">f8", (len(value),), lead=1)


def _float_region(raw: bytes, node: Any, value: Any) -> Region | None:
    if value is None:
        return None
    if not isinstance(value, float):
        raise TypeError("a timestamp that is not a float")
    _check_double(raw, node)
    return Region(node[0] + 1, ">f8")


def _check_double(raw: bytes, node: Any) -> None:
    """Python's floats may have been 32 bits in the message."""
    if raw[node[0]] != 0xCB:
        raise TypeError("a float that is not of 64 bits")


def _number_region(raw: bytes, metadata: Any, example: Update) -> Region | None:
    if example.number is None:
        return None
    return _integer_region(raw, metadata["async_indices"][example.signal])


def _integer_region(raw: bytes, node: Any) -> Region:
    kind = raw[node[0]]
    if kind < 0x80:
        return Region(node[0], "<u1")
    return Region(node[0] + 1, _INTEGERS[kind])


def _walk(raw: bytes) -> Any:
    """The structure of a msgpack object: maps and lists as they are, for all else (start, bytes).

    For bytes it is where their content lies. Raises for what is cut off or not msgpack.
    """
    node, end = _node(raw, 0)
    if end != len(raw):
        raise ValueError("more than one object")
    return node


def _node(raw: bytes, at: int) -> tuple[Any, int]:
    kind = raw[at]
    if kind < 0x80 or kind >= 0xE0 or 0xC0 <= kind <= 0xC3:
        return (at, 1), at + 1
    if kind < 0x90:
        return _map(raw, at + 1, kind & 0x0F)
    if kind < 0xA0:
        return _list(raw, at + 1, kind & 0x0F)
    if kind < 0xC0:
        return _content(at + 1, kind & 0x1F)
    if kind in _SIZED:
        size = _SIZED[kind]
        return (at, 1 + size), at + 1 + size
    what, width = _COUNTED[kind]
    count = int.from_bytes(raw[at + 1 : at + 1 + width], "big")
    node, end = what(raw, at + 1 + width, count)
    return node, end


def _content(at: int, count: int) -> tuple[Any, int]:
    return (at, count), at + count


def _map(raw: bytes, at: int, count: int) -> tuple[Any, int]:
    found = {}
    for _ in range(count):
        start = at
        place, at = _node(raw, at)
        key = raw[place[0] : place[0] + place[1]]
        # keys of BEC are str, those of an ndarray bytes; either way what is in them
        text = raw[start] in (0xD9, 0xDA, 0xDB) or 0xA0 <= raw[start] < 0xC0
        found[key.decode() if text else key], at = _node(raw, at)
    return found, at


def _list(raw: bytes, at: int, count: int) -> tuple[Any, int]:
    found = []
    for _ in range(count):
        node, at = _node(raw, at)
        found.append(node)
    return found, at


_SIZED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_COUNTED: dict[int, Any] = {
    **{0xC4 + i: (lambda _, at, count: _content(at, count), 1 << i) for i in range(3)},
    **{0xD9 + i: (lambda _, at, count: _content(at, count), 1 << i) for i in range(3)},
    **{0xDC + i: (_list, 2 << i) for i in range(2)},
    **{0xDE + i: (_map, 2 << i) for i in range(2)},
}


def equal_lengths(entries: Sequence[tuple[str, bytes]]) -> Iterator[Messages]:
    """`entries` (id, message) in runs of messages of one length."""
    for _, same in groupby(entries, key=lambda entry: len(entry[1])):
        yield Messages.of(list(same))

"""Many small messages of one stream at once: those that differ only in their values.

A device sends the same message again and again, with other numbers in it. One message is decoded
and walked through; where its values, timestamps and numbers lie, others of the same length have
theirs. All other bytes must be equal, or the messages are decoded one by one. A message costs a
comparison of its bytes then, instead of about 15 microseconds; and the value of a long one is not
copied out of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import BadMessage
from zwriter.model import Add, Mode, Run, Source, Update
from zwriter.protocol.codec import DATA, messages_in
from zwriter.protocol.region import Region, integer_region, timestamp_region, value_region
from zwriter.protocol.updates import MAX_NUMBER, updates_in
from zwriter.protocol.walk import walk
from zwriter.raw import Messages

LONG = 64 * 1024  # bytes: messages from here on are not joined, their values stay where they are
FEWEST = 4  # of short messages, at once
_SHORT, _FEW = 4096, 16  # bytes of messages, and parts of them that do not change
_TEMPLATES = 16  # of one stream, kept: running numbers make messages longer now and then
_GIVE_UP = 8  # messages of as many lengths in a row that were not alike
_SMALL = ("<u1", ">u1", ">u2", ">u4")  # dtypes of numbers below MAX_NUMBER, all of them


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
            numbers = None
            if signal.number is not None:
                numbers = signal.number.integers(each)
                if numbers is None or not _in_range(signal.number, numbers):
                    return None
            read = signal.value.integers if isinstance(example.value, int) else signal.value.read
            values = read(each)
            if values is None:
                return None
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


def _in_range(region: Region, numbers: NDArray[np.int64]) -> bool:
    """Whether each can be the number of an update."""
    if region.dtype in _SMALL:
        return True
    return bool(((numbers >= 0) & (numbers < MAX_NUMBER)).all())


def _template(raw: bytes, device: str) -> _Template | None:
    """What can be learnt from one message; None if it is not of a kind that can be repeated."""
    try:
        messages = messages_in(raw, DATA)
        examples = [u for message in messages for u in updates_in(message, device, Source(raw))]
        fields = walk(raw)
        data = fields["__bec_codec__"]["data"]
        signals = []
        for example in examples:
            if not isinstance(example, Update) or not _repeatable(example.mode):
                return None
            reading = data["signals"][example.signal]
            value = value_region(raw, reading["value"], example.value)
            timestamp = timestamp_region(raw, reading.get("timestamp"), example.timestamp)
            number = None
            if example.number is not None:
                number = integer_region(raw, data["metadata"]["async_indices"][example.signal])
            signals.append(_Signal(example, value, timestamp, number))
        template = _Template(raw, signals)
        return template if signals and template.reads(raw) else None
    except (BadMessage, LookupError, TypeError, ValueError, RecursionError, struct.error):
        return None


def _repeatable(mode: Mode) -> bool:
    return isinstance(mode, Add) and mode.max_shape[0] is None and mode.max_shape != (None, None)


def equal_lengths(entries: Sequence[tuple[str, bytes]]) -> Iterator[Messages]:
    """`entries` (id, message) in runs of messages of one length."""
    for _, same in groupby(entries, key=lambda entry: len(entry[1])):
        yield Messages.of(list(same))

"""The kinds of messages that are written: values, and the updates and rows that they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.sizes import MiB
from zwriter.model import Add, Position, Run, Source, Update
from zwriter.protocol import Message, encode
from zwriter.protocol.alike import Alike
from zwriter.raw import Messages

DEVICE = "det"
_STREAM = "stream"
_BATCH_BYTES = 8 * MiB  # of messages that the service reads at once
_SAME_WIDTH = 2**17  # numbers from here on take as many bytes in a message


@dataclass(frozen=True, eq=False)
class Kind:
    """values: of messages, used in turn; shape: of one row; block: rows a message."""

    name: str
    values: list[Any]
    shape: tuple[int, ...]
    block: int = 1

    @property
    def signal(self) -> str:
        return f"{DEVICE}_{self.name}"

    @property
    def max_shape(self) -> tuple[int | None, ...]:
        return (None, *self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.asarray(self.values[0]).dtype

    @property
    def nbytes(self) -> int:
        """Of one message's value."""
        return int(np.asarray(self.values[0]).nbytes)

    @property
    def row_nbytes(self) -> int:
        return self.nbytes // self.block

    def value(self, number: int) -> Any:
        return self.values[number % len(self.values)]

    def rows(self, first: int, count: int) -> NDArray[Any]:
        """The rows of `count` messages from `first` on, in one array."""
        rows = [
            np.reshape(self.value(i), (self.block, *self.shape))
            for i in range(first, first + count)
        ]
        return np.concatenate(rows)

    def messages_in(self, nbytes: int) -> int:
        """How many messages are `nbytes`, at least one."""
        return max(1, nbytes // self.nbytes)

    def message(self, number: int, timestamp: float | None = None, signal: str = "") -> bytes:
        """Message `number`, as a BEC device sends it."""
        name = signal or self.signal
        reading = {"value": self.value(number)}
        if timestamp is not None:
            reading["timestamp"] = timestamp
        metadata = {
            "async_update": {"type": "add", "max_shape": list(self.max_shape)},
            "async_indices": {name: number},
        }
        return encode(Message("DeviceMessage", {"signals": {name: reading}}, metadata))

    def batches(self, count: int) -> Iterator[list[Run]]:
        """`count` messages, as many at once as the service reads, decoded as it does that.

        They lie in memory one behind the other, as in a reply, and are used in turn; only their
        numbers are made new.
        """
        step, in_turn = min(self._step, count), len(self.values)
        raw = [self.message(_SAME_WIDTH + i) for i in range(min(in_turn + step, count))]
        length = len(raw[0])
        memory, starts = np.frombuffer(b"".join(raw), np.uint8), np.arange(len(raw)) * length
        alike = Alike(_STREAM, DEVICE)
        for first in range(0, count, step):
            here = starts[first % in_turn :][: min(step, count - first)]
            runs = alike.runs(Messages(memory, here, length, partial(_entry, first)))
            assert runs is not None
            yield [*_numbered(runs, first)]

    def singly(self, count: int) -> Iterator[list[Update]]:
        """The same, of messages that differ in more than their values."""
        mode = Add(self.max_shape)
        for first in range(0, count, self._step):
            numbers = range(first, min(first + self._step, count))
            yield [
                Update(DEVICE, self.signal, mode, self.value(i), None, i, _source(i))
                for i in numbers
            ]

    @property
    def _step(self) -> int:
        return max(1, _BATCH_BYTES // (self.nbytes + 1024))


def _entry(first: int, i: int) -> str:
    return f"1-{first + i}"


def _source(number: int) -> Source:
    return Source(b"", Position(_STREAM, _entry(0, number)))


def _numbered(runs: list[Run], first: int) -> Iterator[Run]:
    for run in runs:
        yield replace(run, numbers=np.arange(first, first + len(run)))
        first += len(run)


@cache
def frames() -> Kind:
    """2 MiB of photon counts, as an area detector's."""
    counts = np.random.default_rng(1).poisson(3.0, (32, 1024, 1024)).astype("u2")
    return Kind("frames", list(counts), (1024, 1024))


@cache
def spectra() -> Kind:
    """8 kB of floats."""
    return Kind("spectra", list(np.random.default_rng(2).normal(size=(4096, 1024))), (1024,))


@cache
def vectors() -> Kind:
    """80 bytes of floats."""
    return Kind("vectors", list(np.random.default_rng(3).normal(size=(4096, 10))), (10,))


@cache
def blocks() -> Kind:
    """1000 scalars at once."""
    values = list(np.random.default_rng(4).normal(size=(4096, 1000)))
    return Kind("blocks", values, (), block=1000)


@cache
def scalars() -> Kind:
    """One float at a time."""
    return Kind("scalars", np.random.default_rng(5).normal(size=4096).tolist(), ())

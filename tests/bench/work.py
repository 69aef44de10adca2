"""The kinds of messages that are written: values, and the updates and rows that they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.sizes import MiB
from zwriter.model import Add, Position, Source, Update

DEVICE = "det"


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

    def updates(self, first: int, count: int, stream: str = "stream") -> Iterator[Update]:
        """As they come out of the stream's messages."""
        mode = Add(self.max_shape)
        for i in range(first, first + count):
            source = Source(b"", Position(stream, f"1-{i}"))
            yield Update(DEVICE, self.signal, mode, self.value(i), None, i, source)

    def batches(self, count: int, batch_bytes: int = 8 * MiB) -> list[list[Update]]:
        """`count` updates in batches of the size that the service reads at once."""
        step = max(1, batch_bytes // (self.nbytes + 1024))
        return [
            list(self.updates(first, min(step, count - first))) for first in range(0, count, step)
        ]


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

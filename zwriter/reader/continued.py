"""Arrays of a scan in a bucket of which some is in shards and some in pieces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import fill_value
from zwriter.errors import StoreError
from zwriter.reader.lazy import UNREADABLE, InMemory, Source, as_before
from zwriter.reader.pieces import DevicePieces, Gone
from zwriter.store.pieces import Filled


@dataclass(frozen=True, slots=True)
class Parts:
    """What there is of an array, `array` of `signal`.

    stored: the rows that are in shards; rows: how many there are in all; whole: opens all of it,
    once shards have it.
    """

    signal: str
    array: str
    stored: Source
    rows: int
    whole: Callable[[], Source]
    pieces: DevicePieces


class _InParts(ABC):
    """An array that is read from these, or whole once there are no pieces any more."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._later: Source | None = None
        self._stored = stored = parts.stored
        self._edge = stored.shape[0]
        self.name, self.dims, self.attrs = stored.name, stored.dims, stored.attrs
        self.shape, self.dtype = (parts.rows, *stored.shape[1:]), stored.dtype
        self.block_rows = stored.block_rows

    def read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        if self._later is None:
            try:
                return self._read(*key)
            except Gone:
                if not self._parts.pieces.are_in_shards:
                    raise
                self._later = self._parts.whole()
            except UNREADABLE as error:
                raise StoreError(f"{self.name} cannot be read ({error})") from error
        return as_before(self._later.read(key), self.dtype)

    @abstractmethod
    def _read(self, rows: Any, *others: Any) -> NDArray[Any]:
        """As `read`."""


class Continued(_InParts):
    """An array whose last rows are in pieces."""

    def _read(self, rows: Any, *others: Any) -> NDArray[Any]:
        if isinstance(rows, slice):
            return self._read_slice(rows, others)
        if isinstance(rows, int):
            return (
                self._piece(rows, rows + 1, 0, others)
                if rows >= self._edge
                else self._stored.read((rows, *others))
            )
        behind = rows >= self._edge
        parts = self._stored.read((rows[~behind], *others))
        if not behind.any():
            return parts
        wanted = rows[behind]
        first = int(wanted.min())
        result = np.empty((len(rows), *parts.shape[1:]), self.dtype)
        result[~behind] = parts
        result[behind] = self._piece(first, int(wanted.max()) + 1, wanted - first, others)
        return result

    def _read_slice(self, rows: slice, others: tuple[Any, ...]) -> NDArray[Any]:
        start, stop, step = rows.start, rows.stop, rows.step
        first = start + max(0, -(-(self._edge - start) // step)) * step  # of those in pieces
        parts = []
        if start < self._edge or first >= stop:
            parts.append(
                self._stored.read(
                    (slice(min(start, self._edge), min(stop, self._edge), step), *others)
                )
            )
        if first < stop:
            parts.append(self._piece(first, stop, slice(None, None, step), others))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _piece(self, start: int, stop: int, rows: Any, others: tuple[Any, ...]) -> NDArray[Any]:
        """Some of the rows `start` to `stop`, counted from there."""
        signal, array = self._parts.signal, self._parts.array
        there = self._parts.pieces.rows(signal, array, start, stop).astype(self.dtype, copy=False)
        return InMemory(self.name, there, self.dims).read((rows, *others))


class FilledLater(_InParts):
    """An array whose rows were filled further, in pieces: values, or how far they are filled."""

    def _read(self, rows: Any, *others: Any) -> NDArray[Any]:
        if isinstance(rows, slice):
            return self._rows(np.arange(rows.start, rows.stop, rows.step), others)
        wanted, places = np.unique(rows, return_inverse=True)
        cuts = np.flatnonzero(np.diff(wanted // self.block_rows)) + 1
        parts = [self._rows(some, others) for some in np.split(wanted, cuts)]  # whole rows each
        found: NDArray[Any] = np.concatenate(parts)[places if np.ndim(rows) else 0]
        return found

    def _rows(self, wanted: NDArray[np.intp], others: tuple[Any, ...]) -> NDArray[Any]:
        """Rows that are in order."""
        there = np.full((len(wanted), *self.shape[1:]), fill_value(self.dtype), self.dtype)
        if stored := int(np.searchsorted(wanted, self._edge)):
            there[:stored] = self._stored.read((_run(wanted[:stored]), *map(slice, self.shape[1:])))
        for filled in self._parts.pieces.fills(self._parts.signal, wanted):
            self._fill(there, wanted, filled)
        return InMemory(self.name, there, self.dims).read((slice(None), *others))

    def _fill(self, there: NDArray[Any], wanted: NDArray[np.intp], filled: Filled) -> None:
        which = np.flatnonzero(np.isin(filled.rows, wanted))
        at = np.searchsorted(wanted, filled.rows[which])
        if self._parts.array == "length":
            there[at] = filled.stops[which]
            return
        for place, (_, start, values) in zip(at, filled.parts(which), strict=True):
            there[place, start : start + len(values)] = values


def _run(rows: NDArray[np.intp]) -> Any:
    """A slice, where rows follow one another: it is read in blocks, side by side."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1, 1) if last - first == len(rows) - 1 else rows

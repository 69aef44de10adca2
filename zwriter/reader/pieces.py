"""Rows of a scan in a bucket that are not in its shards yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import fill_value
from zwriter.errors import StoreError
from zwriter.objects import each
from zwriter.reader.commits import DeviceCommit, read_commit
from zwriter.reader.lazy import UNREADABLE, InMemory, Source
from zwriter.reader.location import Location
from zwriter.store.pieces import PIECES, Filled, Section, Sections, joined, sections_in

_KEPT_BYTES = 64 * 1024 * 1024
_FIRST, _MOST = 2, 16  # pieces that are read side by side


class Gone(StoreError):
    """A piece is not there, or not any more."""


class Pieces:
    """Those of a scan. They never change, so what was read last is kept in memory. Any thread."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._kept: dict[str, tuple[Sections, int]] = {}
        self._lock = Lock()

    def of(self, device: str, commit: DeviceCommit) -> DevicePieces:
        """Those that a commit of a device names."""
        return DevicePieces(self, device, commit)

    def read(self, names: list[str]) -> list[Sections]:
        """What some have, side by side. Raises Gone, or StoreError if one is damaged."""
        return each(self.location.path, self._read, names)

    def _read(self, name: str) -> Sections:
        with self._lock:
            if name in self._kept:
                self._kept[name] = kept = self._kept.pop(name)  # the last to be forgotten
                return kept[0]
        path = self.location.beside / PIECES / name
        try:
            piece = path.read_bytes()
        except FileNotFoundError:
            raise Gone(f"{path} is missing") from None
        sections = sections_in(piece)
        with self._lock:
            self._kept[name] = sections, len(piece)
            while sum(nbytes for _, nbytes in self._kept.values()) > _KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
        return sections


class DevicePieces:
    """Those that one commit names, in their order."""

    def __init__(self, pieces: Pieces, device: str, commit: DeviceCommit) -> None:
        self._pieces, self._device, self._commit = pieces, device, commit
        self._names = [f"{device}/{name}" for name in commit.pieces]
        self._filled: dict[tuple[str, str], NDArray[np.int64]] = {}  # rows, by piece and signal

    @property
    def are_in_shards(self) -> bool:
        """Whether there is a commit since then that needs none of them: shards have what they
        have."""
        now = read_commit(self._pieces.location, self._device)
        if now is None or (now.epoch, now.seq) <= (self._commit.epoch, self._commit.seq):
            return False
        return not set(now.pieces) & set(self._commit.pieces)

    def rows(self, signal: str, array: str, start: int, stop: int) -> NDArray[Any]:
        """Rows `start` to `stop` of an array. Raises Gone, or StoreError if a piece is damaged."""
        found: list[Section] = []
        for sections in self._newest_first():
            if (section := sections.get((signal, array))) is not None:
                found.append(section)
                if section.first <= start:
                    break
        return joined(reversed(found), start, stop)

    def fills(self, signal: str, wanted: NDArray[np.intp]) -> Iterator[Filled]:
        """What came to some rows of a signal that are filled in place, and to others, in order.
        Raises as `rows`."""
        names = [name for name in self._names if self._may_fill(name, signal, wanted)]
        for some in (names[at : at + _MOST] for at in range(0, len(names), _MOST)):
            for name, sections in zip(some, self._pieces.read(some), strict=True):
                filled = Filled.within(sections, signal)
                self._filled[name, signal] = filled.rows if filled else np.empty(0, np.int64)
                if filled is not None:
                    yield filled

    def _may_fill(self, name: str, signal: str, wanted: NDArray[np.intp]) -> bool:
        known = self._filled.get((name, signal))
        return known is None or bool(np.isin(known, wanted).any())

    def _newest_first(self) -> Iterator[Sections]:
        left, count = self._names, _FIRST
        while left:
            left, some = left[:-count], left[-count:]
            yield from reversed(self._pieces.read(some))
            count = min(2 * count, _MOST)


class _WithPieces(ABC):
    """An array of which some is in pieces.

    stored: the rows that are in shards; rows: how many there are in all; whole: opens all of it,
    once shards have it.
    """

    def __init__(
        self, stored: Source, rows: int, whole: Callable[[], Source], pieces: DevicePieces
    ) -> None:
        self._stored, self._whole, self._pieces = stored, whole, pieces
        self._later: Source | None = None
        self._edge = stored.shape[0]
        self.name, self.dims, self.attrs = stored.name, stored.dims, stored.attrs
        self.shape, self.dtype = (rows, *stored.shape[1:]), stored.dtype
        self.block_rows = stored.block_rows

    def read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        if self._later is None:
            try:
                return self._read(*key)
            except Gone:
                if not self._pieces.are_in_shards:
                    raise
                self._later = self._whole()
            except UNREADABLE as error:
                raise StoreError(f"{self.name} cannot be read ({error})") from error
        return self._later.read(key)

    @abstractmethod
    def _read(self, rows: Any, *others: Any) -> NDArray[Any]:
        """As `read`."""


class Continued(_WithPieces):
    """An array whose last rows are in pieces; it is called `array` in its `signal`."""

    def __init__(
        self,
        stored: Source,
        rows: int,
        whole: Callable[[], Source],
        pieces: DevicePieces,
        signal: str,
        array: str,
    ) -> None:
        super().__init__(stored, rows, whole, pieces)
        self._rows_of = partial(pieces.rows, signal, array)

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
        there = self._rows_of(start, stop).astype(self.dtype, copy=False)
        return InMemory(self.name, there, self.dims).read((rows, *others))


class FilledLater(_WithPieces):
    """An array whose rows were filled further, in pieces. lengths: whether it says how far those of
    its `signal` are filled, and does not have their values."""

    def __init__(
        self,
        stored: Source,
        rows: int,
        whole: Callable[[], Source],
        pieces: DevicePieces,
        signal: str,
        *,
        lengths: bool,
    ) -> None:
        super().__init__(stored, rows, whole, pieces)
        self._fills, self._lengths = partial(pieces.fills, signal), lengths

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
        for filled in self._fills(wanted):
            self._fill(there, wanted, filled)
        return InMemory(self.name, there, self.dims).read((slice(None), *others))

    def _fill(self, there: NDArray[Any], wanted: NDArray[np.intp], filled: Filled) -> None:
        which = np.flatnonzero(np.isin(filled.rows, wanted))
        at = np.searchsorted(wanted, filled.rows[which])
        if self._lengths:
            there[at] = filled.stops[which]
            return
        for place, (_, start, values) in zip(at, filled.parts(which), strict=True):
            there[place, start : start + len(values)] = values


def _run(rows: NDArray[np.intp]) -> Any:
    """A slice, where rows follow one another: it is read in blocks, side by side."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1, 1) if last - first == len(rows) - 1 else rows

"""Rows of a scan in a bucket that are not in its shards yet."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError
from zwriter.objects import each
from zwriter.reader.commits import DeviceCommit, read_commit
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

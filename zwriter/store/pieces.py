"""Rows of growing arrays that a bucket has before it has their shards: see docs/format.md, Pieces.

A piece is one object with some rows of some arrays of a device. It says itself what they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError
from zwriter.store.array_state import dtype_from_json, dtype_json
from zwriter.store.codecs import CRC_BYTES, ChunkCodec, intact, with_crc

PIECES = "pieces"  # the folder beside a store that has them, by device
_LENGTH = 4  # bytes of the number that a piece begins with
_INT64 = np.dtype("<i8")
_FILLED = ("row", "start", "stop")


@dataclass(frozen=True, slots=True)
class Section:
    """Rows of one array, from the row `first` on. shape: (rows, *row); stored: as a chunk is."""

    signal: str
    array: str
    first: int
    shape: tuple[int, ...]
    codec: ChunkCodec
    stored: bytes

    @classmethod
    def of(
        cls, signal: str, array: str, first: int, codec: ChunkCodec, rows: NDArray[Any]
    ) -> Section:
        stored = b"".join(codec.encode(np.ascontiguousarray(rows)))
        return cls(signal, array, first, rows.shape, codec, stored)

    @property
    def stop(self) -> int:
        """Behind its last row."""
        return self.first + self.shape[0]

    def rows(self) -> NDArray[Any]:
        """Raises StoreError if they are damaged."""
        try:
            return self.codec.decode(self.stored, self.shape)
        except (ValueError, RuntimeError) as error:
            raise StoreError(f"rows of {self.signal}/{self.array} in a piece: {error}") from None

    @property
    def description(self) -> list[Any]:
        """What a piece says of it."""
        codec = [dtype_json(self.codec.dtype), self.codec.name, self.codec.level]
        return [self.signal, self.array, self.first, self.shape, codec, len(self.stored)]


Sections = Mapping[tuple[str, str], Section]
"""What a piece has, by signal and array."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What came to rows that are filled in place. rows, starts, stops: (k,) int64, which rows these
    are, from where and up to where they were filled; values: all of it, one row behind the other.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    values: Section

    @classmethod
    def within(cls, piece: Sections, signal: str) -> Filled | None:
        """What a piece has of a signal; None if nothing came to it. Raises StoreError if that is
        damaged."""
        if (signal, "row") not in piece:
            return None
        rows, starts, stops = (piece[signal, name].rows() for name in _FILLED)
        values = piece[signal, "value"]
        fits = len(rows) == len(starts) == len(stops) and np.sum(stops - starts) == values.shape[0]
        if not fits:
            raise StoreError(f"{signal}: a piece contradicts itself")
        return cls(rows, starts, stops, values)

    def parts(self, which: NDArray[np.intp]) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Of some of the k, the row, where in it, and what. Raises StoreError if it is damaged."""
        if not len(which):
            return
        values, ends = self.values.rows(), np.cumsum(self.stops - self.starts)
        for at in which:
            start, stop = int(self.starts[at]), int(self.stops[at])
            yield int(self.rows[at]), start, values[ends[at] - (stop - start) : ends[at]]


def filled_sections(
    signal: str,
    codec: ChunkCodec,
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    values: NDArray[Any],
) -> Iterator[Section]:
    """As a piece has what `Filled` says."""
    yield Section.of(signal, "value", 0, codec, values)
    numbers = ChunkCodec(_INT64, codec.name, codec.level)
    for name, array in zip(_FILLED, (rows, starts, stops), strict=True):
        yield Section.of(signal, name, 0, numbers, array)


def piece_bytes(sections: Iterable[Section]) -> bytes:
    """The piece that has these."""
    sections = list(sections)
    head = with_crc(json.dumps([section.description for section in sections]).encode())
    length = len(head).to_bytes(_LENGTH, "little")
    return b"".join((length, head, *(section.stored for section in sections)))


def sections_in(piece: bytes) -> Sections:
    """What a piece has. Raises StoreError if it does not say; its rows may be
    damaged as well."""
    at = _LENGTH + int.from_bytes(piece[:_LENGTH], "little")
    head = piece[_LENGTH:at]
    if len(head) <= CRC_BYTES or not intact(head):
        raise StoreError("a piece is damaged")
    found = {}
    for signal, array, first, shape, (dtype, name, level), nbytes in json.loads(head[:-CRC_BYTES]):
        codec = ChunkCodec(dtype_from_json(dtype), name, level)
        stored = piece[at : at + nbytes]
        found[signal, array] = Section(signal, array, first, tuple(shape), codec, stored)
        at += nbytes
    return found


def joined(sections: Iterable[Section], start: int, stop: int) -> NDArray[Any]:
    """Rows `start` to `stop` of an array, from sections of it that follow one another. Raises
    StoreError if one is missing, or damaged."""
    parts: list[NDArray[Any]] = []
    at = start
    for section in sections:
        if section.first <= at < section.stop and at < stop:
            parts.append(section.rows()[at - section.first : stop - section.first])
            at = min(section.stop, stop)
    if at < stop or not parts:
        raise StoreError(f"rows {at} to {stop} are in no piece")
    return np.concatenate(parts) if len(parts) > 1 else parts[0]

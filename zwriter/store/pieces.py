"""Rows of growing arrays that a bucket has before it has their shards: see docs/format.md, Pieces.

A piece is one object with some rows of some arrays of a device. It says itself what they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError
from zwriter.store.array_state import dtype_from_json, dtype_json
from zwriter.store.codecs import CRC_BYTES, ChunkCodec, intact, with_crc

PIECES = "pieces"  # the folder beside a store that has them, by device
_LENGTH = 4  # bytes of the number that a piece begins with


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


def piece_bytes(sections: Iterable[Section]) -> bytes:
    """The piece that has these."""
    sections = list(sections)
    head = with_crc(json.dumps([section.description for section in sections]).encode())
    length = len(head).to_bytes(_LENGTH, "little")
    return b"".join((length, head, *(section.stored for section in sections)))


def sections_in(piece: bytes) -> dict[tuple[str, str], Section]:
    """What a piece has, by signal and array. Raises StoreError if it does not say; its rows may be
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


def rows_in_shards(rows: int, at_least: int, sealed: int, rows_each: int) -> int:
    """How many of an array's rows are in shards in a bucket. at_least: as its commit says; sealed:
    how many shards are, which have `rows_each`."""
    return min(max(at_least, sealed * rows_each), rows)

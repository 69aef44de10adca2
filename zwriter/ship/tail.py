"""What a bucket has of a device's rows besides its shards: pieces, each of rows that came between
two commits. A piece is small, so it can be sent soon, and once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np

from zwriter.errors import Damaged
from zwriter.ship.shards import chunks_from, chunks_nbytes
from zwriter.store.array_state import codec_of, open_shards, shard_chunks
from zwriter.store.pieces import Section, piece_bytes

LIMIT = 4 * 1024 * 1024  # bytes of rows in an interval: what comes faster has shards soon
_LARGEST = 4 * LIMIT  # bytes of rows in a piece
MOST = 200  # pieces that a commit names
_PART = 50  # of what grows is a piece at least: 105 pieces while that becomes eight times as much

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _InShards:
    """What the shards in the bucket have of an array. kind: its generation and its chunks, of which
    it can have others; ends: of the shards that grew then, as in a commit."""

    kind: tuple[int, int]
    rows: int
    ends: list[list[int]]

    @classmethod
    def of(cls, state: dict[str, Any]) -> _InShards:
        return cls(_kind(state), _rows(state), state["ends"])


class Way(Enum):
    """How rows come into a bucket. SHARDS_NOW: an array is new, or has become another one, which no
    piece can show, or there are many pieces, or much waits."""

    PIECES = auto()
    SHARDS = auto()
    SHARDS_NOW = auto()


class Tail:
    """Of the device in the spool's `folder`. pieces: the names of those that are needed, in their
    order; old: of others that may still be there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pieces: list[str] = []
        self.old: list[str] = []
        self._in_shards: dict[_Key, _InShards] = {}
        self._rows: dict[_Key, int] = {}  # that the bucket has
        self._lacks = 0.0  # bytes of rows, in memory, that the bucket had not at the last look
        self._is_open = False  # whether there may be pieces until shards are sent

    def begin(self, commit: dict[str, Any]) -> None:
        """The shards that are sent have all that the commit says."""
        self._in_shards = {key: _InShards.of(state) for key, state in growing(commit)}
        self._rows = {key: there.rows for key, there in self._in_shards.items()}
        self._lacks = 0.0
        layouts = (signal["layout"] for signal in commit["signals"].values())
        self._is_open = "slices" not in layouts  # their rows are filled in place
        self.old += self.pieces
        self.pieces = []

    def close(self) -> None:
        """No more pieces until shards are sent."""
        self._is_open = False

    def look(self, commit: dict[str, Any], intervals: float) -> Way:
        """How what is new of a commit may come. intervals: as many have passed since the last
        look."""
        if not self._is_open:
            return Way.SHARDS
        if len(self.pieces) >= MOST or any(
            key not in self._in_shards or self._in_shards[key].kind != _kind(state)
            for key, state in growing(commit)
        ):
            return Way.SHARDS_NOW
        before, self._lacks = (
            self._lacks,
            sum(
                _row_nbytes(state) * (_rows(state) - self._rows[key])
                for key, state in growing(commit)
            ),
        )
        self._is_open = self._lacks - before <= LIMIT * intervals
        if not self._is_open:
            return Way.SHARDS
        return Way.PIECES if self._lacks <= _LARGEST else Way.SHARDS_NOW

    def is_piece_due(self, commit: dict[str, Any]) -> bool:
        """After a look at it: whether there is enough for a piece, or only what comes with the
        commit itself."""
        grows = sum(
            _row_nbytes(state) * _rows_that_grow(state)
            for key, state in growing(commit)
            if _rows(state) > self._rows[key]
        )
        return not self._lacks or self._lacks >= min(LIMIT, grows / _PART)

    def piece(self, commit: dict[str, Any]) -> bytes | None:
        """The rows that the bucket has not. Raises Damaged if the spool has gone on."""
        sections = [
            self._section(key, state)
            for key, state in growing(commit)
            if _rows(state) > self._rows[key]
        ]
        return piece_bytes(sections) if sections else None

    def _section(self, key: _Key, state: dict[str, Any]) -> Section:
        signal, array = key
        codec, first, chunk_rows = codec_of(state), self._rows[key], state["chunk_rows"]
        shape = (chunk_rows, *state["shape"][1:])
        begin = first // chunk_rows
        chunks = chunks_from(self.folder / signal / array, state, begin)
        try:
            rows = np.concatenate([codec.decode(stored, shape) for stored in chunks])
        except (ValueError, RuntimeError) as error:
            raise Damaged(f"{self.folder.name}/{signal}/{array}: {error}") from None
        new = slice(first - begin * chunk_rows, _rows(state) - begin * chunk_rows)
        return Section.of(signal, array, first, codec, rows[new])

    def sent(self, name: str, commit: dict[str, Any]) -> None:
        """The bucket has a piece with all that it had not of the commit."""
        self.pieces.append(name)
        self._rows = {key: _rows(state) for key, state in growing(commit)}
        self._lacks = 0.0

    def state(self, signal: str, array: str, state: dict[str, Any]) -> dict[str, Any]:
        """An array's state, with what is said of its shards as the bucket has them."""
        there, sealed = self._in_shards[signal, array], {number for number, _ in state["sealed"]}
        ends = [end for end in there.ends if end[0] not in sealed]
        return {**state, "ends": ends, "in_shards": there.rows}


def growing(commit: dict[str, Any]) -> Iterator[tuple[_Key, dict[str, Any]]]:
    """The arrays that grow, by signal and name, and their states."""
    for signal, of_signal in commit["signals"].items():
        if of_signal["layout"] != "replace":
            for array, state in of_signal["arrays"].items():
                yield (signal, array), state


def _kind(state: dict[str, Any]) -> tuple[int, int]:
    return state["generation"], state["chunk_rows"]


def _rows(state: dict[str, Any]) -> int:
    rows: int = state["shape"][0]
    return rows


def _rows_that_grow(state: dict[str, Any]) -> int:
    """Of an array, those in shards that are not sealed."""
    sealed: int = len(state["sealed"]) * shard_chunks(state) * state["chunk_rows"]
    return max(_rows(state) - sealed, 0)


def _row_nbytes(state: dict[str, Any]) -> float:
    """Bytes of a row in memory; of strings, as they are stored."""
    dtype = codec_of(state).dtype
    if dtype.kind != "T":
        return float(dtype.itemsize * math.prod(state["shape"][1:]))
    stored = sum(chunks_nbytes(shard.partial, shard.end) for shard in open_shards(state))
    return max(stored / max(_rows_that_grow(state), 1), dtype.itemsize)

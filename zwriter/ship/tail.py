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
from zwriter.ship.fills import Lengths, filled_since, lengths_at
from zwriter.ship.shards import chunks_nbytes, decoded_chunks
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
    piece can show, or there are many pieces, or much waits, or no shard grows any more."""

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
        self._filled: dict[str, Lengths] = {}  # how far, where rows are filled in place
        self._now: dict[str, Lengths] = {}  # the same in the spool, at the commit
        self._looked_at = -1  # its number
        self._lacks = 0.0  # bytes of rows, in memory, that the bucket had not at the last look
        self._is_open = False  # whether there may be pieces until shards are sent

    def begin(self, commit: dict[str, Any]) -> None:
        """The shards that are sent have all that the commit says."""
        self._in_shards = {key: _InShards.of(state) for key, state in growing(commit)}
        self._rows = {key: there.rows for key, there in self._in_shards.items()}
        self._lacks = 0.0
        self.old += self.pieces
        self.pieces = []
        try:
            self._look_at(commit)
        except (Damaged, OSError):  # the spool has gone on, or what it is will be met again
            self._is_open = False
        else:
            self._filled, self._is_open = self._now, True

    def close(self) -> None:
        """No more pieces until shards are sent."""
        self._is_open = False

    def look(self, commit: dict[str, Any], intervals: float) -> Way:
        """How what is new of a commit may come. intervals: as many have passed since the last
        look. Raises Damaged if the spool has gone on."""
        if not self._is_open:
            return Way.SHARDS
        states = dict(growing(commit))
        if (
            len(self.pieces) >= MOST
            or not any(state["ends"] for state in states.values())
            or any(
                key not in self._in_shards or self._in_shards[key].kind != _kind(state)
                for key, state in states.items()
            )
        ):
            return Way.SHARDS_NOW
        self._look_at(commit)
        before = self._lacks
        self._lacks = sum(self._new_nbytes(key, state) for key, state in self._of_rows(commit))
        self._is_open = self._lacks - before <= LIMIT * intervals
        if not self._is_open:
            return Way.SHARDS
        return Way.PIECES if self._lacks <= _LARGEST else Way.SHARDS_NOW

    def _look_at(self, commit: dict[str, Any]) -> None:
        if commit["seq"] != self._looked_at:
            self._now, self._looked_at = lengths_at(self.folder, commit), commit["seq"]

    def is_piece_due(self, commit: dict[str, Any]) -> bool:
        """After a look at it: whether there is enough for a piece, or only what comes with the
        commit itself."""
        grows = sum(
            self._growing_nbytes(key, state)
            for key, state in self._of_rows(commit)
            if self._new_nbytes(key, state)
        )
        return not self._lacks or self._lacks >= min(LIMIT, grows / _PART)

    def _new_nbytes(self, key: _Key, state: dict[str, Any]) -> float:
        """Of rows, in memory, that the bucket has not."""
        if (in_place := self._in_place(key)) is None:
            return _row_nbytes(state) * (_rows(state) - self._rows[key])
        new = in_place.sum() - self._filled[key[0]].sum()
        return float(new * _value_nbytes(state, _growing_values(state, in_place)))

    def _growing_nbytes(self, key: _Key, state: dict[str, Any]) -> float:
        """Of rows, in memory, in shards that are not sealed."""
        if (in_place := self._in_place(key)) is None:
            return _row_nbytes(state) * _rows_that_grow(state)
        values = _growing_values(state, in_place)
        return values * _value_nbytes(state, values)

    def _of_rows(self, commit: dict[str, Any]) -> Iterator[tuple[_Key, dict[str, Any]]]:
        """The arrays that grow, without how far rows are filled that are filled in place."""
        for (signal, array), state in growing(commit):
            if signal not in self._now or array != "length":
                yield (signal, array), state

    def _in_place(self, key: _Key) -> Lengths | None:
        """How far the rows of an array are filled, if it is one whose rows are filled in place."""
        return self._now.get(key[0]) if key[1] == "value" else None

    def piece(self, commit: dict[str, Any]) -> bytes | None:
        """The rows that the bucket has not. Raises Damaged if the spool has gone on."""
        sections = [
            section
            for key, state in self._of_rows(commit)
            for section in self._sections(key, state)
        ]
        return piece_bytes(sections) if sections else None

    def _sections(self, key: _Key, state: dict[str, Any]) -> Iterator[Section]:
        """What the bucket has not of an array."""
        if (in_place := self._in_place(key)) is not None:
            before = self._filled[key[0]]
            yield from filled_since(self.folder / key[0], state, before, in_place)
        elif _rows(state) > self._rows[key]:
            yield self._section(key, state)

    def _section(self, key: _Key, state: dict[str, Any]) -> Section:
        """The rows at an array's end."""
        signal, array = key
        codec, first, chunk_rows = codec_of(state), self._rows[key], state["chunk_rows"]
        begin = first // chunk_rows
        numbers = range(begin, -(-_rows(state) // chunk_rows))
        chunks = [
            chunk for _, chunk in decoded_chunks(self.folder / signal / array, state, numbers)
        ]
        if len(chunks) < len(numbers):
            raise Damaged(f"{self.folder.name}/{signal}/{array}: it lacks a chunk")
        new = slice(first - begin * chunk_rows, _rows(state) - begin * chunk_rows)
        return Section.of(signal, array, first, codec, np.concatenate(chunks)[new])

    def sent(self, name: str, commit: dict[str, Any]) -> None:
        """The bucket has a piece with all that it had not of the commit."""
        self.pieces.append(name)
        self._rows = {key: _rows(state) for key, state in growing(commit)}
        self._filled = self._now
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


def _growing_values(state: dict[str, Any], lengths: Lengths) -> int:
    """The same of values, where rows are filled up to `lengths`: sealed shards are full."""
    sealed: int = (_rows(state) - _rows_that_grow(state)) * state["shape"][1]
    return max(int(lengths.sum()) - sealed, 0)


def _row_nbytes(state: dict[str, Any]) -> float:
    """Bytes of a row in memory; of strings, as they are stored."""
    width: int = math.prod(state["shape"][1:])
    return width * _value_nbytes(state, _rows_that_grow(state) * width)


def _value_nbytes(state: dict[str, Any], growing_ones: int) -> float:
    """The same of one value. growing_ones: how many are in shards that are not sealed."""
    dtype = codec_of(state).dtype
    if dtype.kind != "T":
        return float(dtype.itemsize)
    stored = sum(chunks_nbytes(shard.partial, shard.end) for shard in open_shards(state))
    return max(stored / max(growing_ones, 1), dtype.itemsize)

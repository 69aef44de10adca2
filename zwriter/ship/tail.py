"""What a bucket has of a device's rows besides its shards: pieces, each of rows that came between
two commits. A piece is small, so it can be sent soon, and once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zwriter.errors import Damaged
from zwriter.ship.shards import chunks_from
from zwriter.store.array_state import codec_of
from zwriter.store.pieces import Section, piece_bytes

LIMIT = 4 * 1024 * 1024  # bytes of a piece, in memory: what comes faster has shards soon


@dataclass(frozen=True, slots=True)
class _InShards:
    """What the shards in the bucket have of an array. kind: its generation and its chunks, of which
    it can have others; ends: of the shards that grew then, as in a commit."""

    kind: tuple[int, int]
    rows: int
    ends: list[list[int]]

    @classmethod
    def of(cls, state: dict[str, Any]) -> _InShards:
        return cls(_kind(state), state["shape"][0], state["ends"])


@dataclass
class Tail:
    """Of the device in the spool's `folder`. pieces: their names and sizes, in their order."""

    folder: Path
    pieces: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._in_shards: dict[tuple[str, str], _InShards] | None = None
        self._rows: dict[tuple[str, str], int] = {}  # that the bucket has
        self._is_fast = False  # too much comes between two looks

    def begin(self, commit: dict[str, Any]) -> list[str]:
        """The shards that are sent have all that the commit says; the pieces that are not needed
        any more."""
        self._in_shards = {key: _InShards.of(state) for key, state in _growing(commit)}
        self._rows = {key: there.rows for key, there in self._in_shards.items()}
        self._is_fast = any(layout == "slices" for layout in _layouts(commit))  # filled in place
        old, self.pieces = [name for name, _ in self.pieces], []
        return old

    def lacks(self, commit: dict[str, Any]) -> int | None:
        """Bytes of rows that the bucket has not, in memory; None if no piece can take them: then
        the shards must be sent."""
        if self._is_fast or self._in_shards is None:
            return None
        nbytes = 0
        for key, state in _growing(commit):
            there = self._in_shards.get(key)
            if there is None or there.kind != _kind(state):
                return None  # until the shards have it
            row = codec_of(state).dtype.itemsize * math.prod(state["shape"][1:])
            nbytes += row * (state["shape"][0] - self._rows[key])
        self._is_fast = nbytes > LIMIT
        return None if self._is_fast else nbytes

    def piece(self, commit: dict[str, Any]) -> bytes:
        """The rows that the bucket has not. Raises Damaged if the spool has gone on."""
        return piece_bytes(
            self._section(key, state)
            for key, state in _growing(commit)
            if state["shape"][0] > self._rows[key]
        )

    def _section(self, key: tuple[str, str], state: dict[str, Any]) -> Section:
        signal, array = key
        codec, first, chunk_rows = codec_of(state), self._rows[key], state["chunk_rows"]
        shape = (chunk_rows, *state["shape"][1:])
        begin = first // chunk_rows
        try:
            rows = np.concatenate(
                [
                    codec.decode(stored, shape)
                    for stored in chunks_from(self.folder / signal / array, state, begin)
                ]
            )
        except (ValueError, RuntimeError) as error:
            raise Damaged(f"{self.folder.name}/{signal}/{array}: {error}") from None
        new = slice(first - begin * chunk_rows, state["shape"][0] - begin * chunk_rows)
        return Section.of(signal, array, first, codec, rows[new])

    def sent(self, name: str, nbytes: int, commit: dict[str, Any]) -> None:
        """The bucket has a piece with all that it had not of the commit."""
        self.pieces.append((name, nbytes))
        self._rows = {key: state["shape"][0] for key, state in _growing(commit)}

    def state(self, signal: str, array: str, state: dict[str, Any]) -> dict[str, Any]:
        """An array's state, with what is said of its shards as the bucket has them."""
        assert self._in_shards is not None
        there, sealed = self._in_shards[signal, array], {number for number, _ in state["sealed"]}
        ends = [end for end in there.ends if end[0] not in sealed]
        return {**state, "ends": ends, "in_shards": there.rows}


def _growing(commit: dict[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """The arrays that grow, and their states."""
    for signal, of_signal in commit["signals"].items():
        if of_signal["layout"] != "replace":
            for array, state in of_signal["arrays"].items():
                yield (signal, array), state


def _layouts(commit: dict[str, Any]) -> Iterator[str | None]:
    for of_signal in commit["signals"].values():
        yield of_signal["layout"]


def _kind(state: dict[str, Any]) -> tuple[int, int]:
    return state["generation"], state["chunk_rows"]

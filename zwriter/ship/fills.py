"""Rows of a spool that are filled in place (layout `slices`): how far, and what came to them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import Damaged
from zwriter.ship.shards import decoded_chunks
from zwriter.store.array_state import codec_of
from zwriter.store.pieces import Section, filled_sections

Lengths = NDArray[np.int64]


def lengths_at(folder: Path, commit: dict[str, Any]) -> dict[str, Lengths]:
    """How far the rows of such signals of a device are filled at a commit. Raises Damaged if the
    spool has gone on."""
    return {
        signal: _lengths(folder / signal / "length", of_signal["arrays"]["length"])
        for signal, of_signal in commit["signals"].items()
        if of_signal["layout"] == "slices" and "length" in of_signal["arrays"]
    }


def _lengths(folder: Path, state: dict[str, Any]) -> Lengths:
    rows, chunk_rows = state["shape"][0], state["chunk_rows"]
    lengths = np.zeros(-(-rows // chunk_rows) * chunk_rows, np.int64)
    for number, chunk in decoded_chunks(folder, state, range(-(-rows // chunk_rows))):
        lengths[number * chunk_rows :][:chunk_rows] = chunk
    return lengths[:rows]


def filled_since(
    signal: Path, state: dict[str, Any], before: Lengths, now: Lengths
) -> Iterator[Section]:
    """What came to the rows of a signal since they were filled as `before`, as a piece has it.
    Raises Damaged if the spool has gone on."""
    known = np.zeros_like(now)
    known[: len(before)] = before
    rows = np.flatnonzero(now > known)
    if not len(rows):
        return
    of_chunks = {
        number: list(of_chunk)
        for number, of_chunk in groupby(rows.tolist(), lambda row: row // state["chunk_rows"])
    }
    values = [
        chunk[row - number * len(chunk), known[row] : now[row]].copy()  # the rest is not kept
        for number, chunk in decoded_chunks(signal / "value", state, of_chunks)
        for row in of_chunks[number]
    ]
    if len(values) < len(rows):
        raise Damaged(f"{signal}: it lacks a chunk")
    joined = np.concatenate(values)
    yield from filled_sections(signal.name, codec_of(state), rows, known[rows], now[rows], joined)

"""What a signal's arrays must say of one another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zwriter.reader.commits import SignalCommit
from zwriter.reader.lazy import LazyArray
from zwriter.reader.signals import Signal


def relation_problems(signal: Signal, commit: SignalCommit) -> Iterator[str]:
    """Lengths that differ, offsets that go back, rows that are not there."""
    if "value" not in signal.arrays:
        return
    value = signal.value
    match signal.layout:
        case "rows" | "slices":
            if len(value) != commit.rows:
                yield f"value has {len(value)} rows, the commit {commit.rows}"
            if signal.length is not None:
                yield from _length_problems(signal.length, value)
        case "ragged" | "pieces":
            yield from _offset_problems(signal.arrays["offsets"], len(value))
            of_pieces = signal.arrays.get("row")
            if of_pieces is None:
                if len(signal.rows) != commit.rows:
                    yield f"offsets of {len(signal.rows)} rows, the commit has {commit.rows}"
            else:
                yield from _piece_problems(of_pieces, len(signal.arrays["offsets"]), commit.rows)


def _length_problems(length: LazyArray, value: LazyArray) -> Iterator[str]:
    if len(length) != len(value):
        yield f"length has {len(length)} entries for {len(value)} rows"
    width = value.shape[1]
    if any(block.min(initial=0) < 0 or block.max(initial=0) > width for block in length.blocks()):
        yield f"length has entries outside of 0 to {width}"


def _offset_problems(offsets: LazyArray, values: int) -> Iterator[str]:
    last = 0
    for start, block in enumerate(offsets.blocks()):
        if (start == 0 and block[0] != 0) or np.any(np.diff(block, prepend=last) < 0):
            yield "offsets do not begin with 0 and grow"
            return
        last = int(block[-1])
    if last != values:
        yield f"offsets end at {last}, value has {values} entries"


def _piece_problems(row: LazyArray, offsets: int, rows: int) -> Iterator[str]:
    if len(row) != offsets - 1:
        yield f"{len(row)} pieces have a row, {offsets - 1} have offsets"
    if any(block.min(initial=0) < 0 or block.max(initial=0) >= rows for block in row.blocks()):
        yield f"pieces of rows outside of the {rows} that are committed"

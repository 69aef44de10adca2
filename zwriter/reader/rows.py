"""The rows of a signal, each of its true length: `rows[i]`, `rows[a:b]`, `len(rows)`, iteration.

Rows are read in blocks: a slice or an iteration does not open a chunk for every row.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from zwriter.reader.lazy import BLOCK_BYTES, LazyArray

Row = NDArray[Any]
MAX_BLOCK = 65536


class Rows(Sequence[Row]):
    """A signal's rows. What is between `start` and `stop` is read together."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _read(self, start: int, stop: int) -> list[Row]:
        """Rows start to stop."""

    @abstractmethod
    def _block(self, start: int) -> int:
        """Where the block that begins with row `start` should end: about 16 MiB further."""

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: slice) -> list[Row]: ...
    def __getitem__(self, key: int | slice) -> Row | list[Row]:
        n = len(self)
        if isinstance(key, slice):
            start, stop, step = key.indices(n)
            if step == 1:
                return self._read(start, max(start, stop))
            return [self._read(i, i + 1)[0] for i in range(start, stop, step)]
        if not -n <= key < n:
            raise IndexError(f"row {key} of {n}")
        return self._read(key % n, key % n + 1)[0]

    def __iter__(self) -> Iterator[Row]:
        start, n = 0, len(self)
        while start < n:
            stop = min(max(start + 1, self._block(start)), n)
            yield from self._read(start, stop)
            start = stop

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


class FixedRows(Rows):
    """Rows of one shape, of which the first axis may be filled up to `length` only.

    A scalar is one row.
    """

    def __init__(self, value: LazyArray, length: LazyArray | None) -> None:
        self._value, self._length = value, length

    def __len__(self) -> int:
        return len(self._value) if self._value.ndim else 1

    def _block(self, start: int) -> int:
        row = max(1, self._value.nbytes // len(self))
        return start + min(BLOCK_BYTES // row, MAX_BLOCK)

    def _read(self, start: int, stop: int) -> list[Row]:
        if not self._value.ndim:
            return [np.asarray(self._value)] if start < stop else []
        if self._length is None:
            return list(self._value[start:stop])
        lengths = self._length[start:stop]
        rows = self._value[start:stop]
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]


class RaggedRows(Rows):
    """Row i is `value[offsets[i]:offsets[i + 1]]`."""

    def __init__(self, value: LazyArray, offsets: LazyArray) -> None:
        self._value, self._offsets = value, offsets

    def __len__(self) -> int:
        return max(0, len(self._offsets) - 1)

    def _block(self, start: int) -> int:
        offsets = self._offsets[start : start + MAX_BLOCK + 1]
        reach = offsets[0] + BLOCK_BYTES // self._value.dtype.itemsize
        return start + int(np.searchsorted(offsets, reach, "right")) - 1

    def _read(self, start: int, stop: int) -> list[Row]:
        if start >= stop:
            return []
        offsets = self._offsets[start : stop + 1]
        values = self._value[int(offsets[0]) : int(offsets[-1])]
        return _parts(values, offsets)


class PieceRows(Rows):
    """Row i is all pieces j with `row[j] == i`, one behind the other, in the order of j."""

    def __init__(self, value: LazyArray, offsets: LazyArray, row: LazyArray) -> None:
        self._value, self._offsets_of_pieces, self._row_of_pieces = value, offsets, row

    def __len__(self) -> int:
        return len(self._first) - 1

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return np.asarray(self._offsets_of_pieces)

    @cached_property
    def _row(self) -> NDArray[np.int64]:
        return np.asarray(self._row_of_pieces)

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        """The pieces, sorted by row."""
        return np.argsort(self._row, kind="stable")

    @cached_property
    def _first(self) -> NDArray[np.intp]:
        """Where in `_order` the pieces of each row begin, and the end of the last one."""
        rows = int(self._row.max(initial=-1)) + 1
        return np.searchsorted(self._row[self._order], np.arange(rows + 1))

    def _block(self, start: int) -> int:
        sizes = np.cumsum(np.diff(self._offsets)[self._order[self._first[start] :]])
        pieces = int(np.searchsorted(sizes, BLOCK_BYTES // self._value.dtype.itemsize, "right"))
        return int(np.searchsorted(self._first, self._first[start] + pieces, "right")) - 1

    def _read(self, start: int, stop: int) -> list[Row]:
        pieces = self._order[self._first[start] : self._first[max(start, stop)]]
        values = self._read_pieces(np.sort(pieces))
        empty = np.empty(0, self._value.dtype)
        return [
            np.concatenate(
                [empty, *(values[j] for j in self._order[self._first[i] : self._first[i + 1]])]
            )
            for i in range(start, stop)
        ]

    def _read_pieces(self, pieces: NDArray[np.intp]) -> dict[int, Row]:
        """The values of some pieces, neighbours read together."""
        values: dict[int, Row] = {}
        if not len(pieces):
            return values
        for run in np.split(pieces, np.flatnonzero(np.diff(pieces) != 1) + 1):
            offsets = self._offsets[run[0] : run[-1] + 2]
            flat = self._value[int(offsets[0]) : int(offsets[-1])]
            values |= zip(run.tolist(), _parts(flat, offsets), strict=True)
        return values


def _parts(values: Row, offsets: NDArray[np.int64]) -> list[Row]:
    """`values`, which begin at `offsets[0]`, cut at the offsets (np.split is slow)."""
    edges = (offsets - offsets[0]).tolist()
    return [values[begin:end] for begin, end in pairwise(edges)]

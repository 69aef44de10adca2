"""What the rows of a signal are: one class for each row of the table of update modes.

A layout takes one update's array and fits it, or says why it does not fit. Layouts carry the little
state that fitting needs: how many rows there are, how far a row is filled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble.values import Array, fill_value
from zwriter.errors import BadUpdate
from zwriter.model import Add, AddSlice, MaxShape, Mode

MAX_NEW_ROWS = 1_000_000  # how far beyond the rows that are there an index may reach
MAX_EMPTY_BYTES = 2**30  # what all rows without data may take, which a copy may write
MAX_RAGGED_ROWS = 2**22  # rows with a length of their own in one update
PADDED_BYTES = 8 * 1024 * 1024  # what short rows may always take when they are padded
PADDED_TIMES = 64  # and how many times their own size where that is more
SLICE_ROW_BYTES = 64 * 1024 * 1024  # rows that are written in pieces are in memory as a whole


@dataclass(slots=True)
class Fitted:
    """An update in the form its signal has.

    array: rows (k, *row) or flat values; lengths: true length of each row, where it matters;
    cut: what did not fit, and goes to quarantine; row, column: where a slice goes.
    """

    array: Array
    lengths: list[int] | None = None
    short: int = 0
    cut: int = 0
    cut_reason: str = ""
    row: int = 0
    column: int = 0


class Layout:
    """Common to all: `name` is what the store calls it, `rows` how many there are."""

    name: ClassVar[str]
    rows: int = 0

    def fit(self, array: Array, mode: Mode) -> Fitted:
        """`array` as this signal's rows. Raises BadUpdate when it cannot be."""
        raise NotImplementedError

    def took(self, fitted: Fitted) -> None:
        """Note that `fitted` is going to be written."""


@dataclass
class Rows(Layout):
    """add with a fixed row shape: scalars, vectors, frames.

    row_shape: `max_shape` has it; but frames are as the first one, which may be smaller.
    """

    max_shape: MaxShape
    rows: int = 0
    begun: bool = False  # a first one was taken
    name: ClassVar[str] = "rows"

    def __post_init__(self) -> None:
        self.row_shape = tuple(int(size) for size in self.max_shape[1:] if size is not None)

    def has_rows_of(self, shape: tuple[int, ...]) -> bool:
        """Whether rows may have this shape."""
        if shape == self.row_shape:
            return True
        if self.begun or len(shape) < 2 or not all(shape):
            return False
        most = self.max_shape[1:]
        return all(n <= size for n, size in zip(shape, most, strict=True) if size is not None)

    def fit(self, array: Array, mode: Mode) -> Fitted:
        depth = len(self.max_shape)
        if array.ndim == depth - 1:
            array = array[np.newaxis]
        if array.ndim != depth:
            raise BadUpdate(f"shape {array.shape} does not fit max_shape {list(self.max_shape)}")
        if depth == 2:
            fitted = self._fit_width(array, self.row_shape[0])
        elif not self.has_rows_of(array.shape[1:]):
            raise BadUpdate(f"rows of shape {array.shape[1:]} where {self.row_shape} are expected")
        else:
            self.row_shape = array.shape[1:]
            fitted = Fitted(array)
        return self._fit_bound(fitted)

    def _fit_width(self, array: Array, width: int) -> Fitted:
        k, n = array.shape
        if n == width:
            return Fitted(array)
        if n > width:
            reason = f"{n} values in a row of {width}: the rest was cut off"
            return Fitted(array[:, :width], cut=k, cut_reason=reason)
        nbytes = k * width * array.dtype.itemsize
        if nbytes > max(PADDED_BYTES, PADDED_TIMES * array.nbytes):
            raise BadUpdate(f"{k} rows of {n} values, where rows of {width} are expected")
        _check_ragged(k)
        padded = np.full((k, width), fill_value(array.dtype), array.dtype)
        padded[:, :n] = array
        return Fitted(padded, lengths=[n] * k, short=k)

    def _fit_bound(self, fitted: Fitted) -> Fitted:
        bound = self.max_shape[0]
        if bound is None:
            return fitted
        room = bound - self.rows
        k = len(fitted.array)
        if k <= room:
            return fitted
        if room <= 0:
            raise BadUpdate(f"the signal is full: max_shape {list(self.max_shape)}")
        lengths = fitted.lengths[:room] if fitted.lengths else None
        short = min(fitted.short, room)
        reason = f"only {room} of {k} rows fit into max_shape {list(self.max_shape)}"
        return Fitted(fitted.array[:room], lengths, short, cut=k - room, cut_reason=reason)

    def took(self, fitted: Fitted) -> None:
        self.rows += len(fitted.array)
        self.begun = True

    def resume(self, row_shape: tuple[int, ...]) -> None:
        """Go on with rows of this shape."""
        self.row_shape, self.begun = row_shape, True


@dataclass
class Ragged(Layout):
    """add [None, None]: each 1-D block is a row of its own length."""

    rows: int = 0
    name: ClassVar[str] = "ragged"

    def fit(self, array: Array, mode: Mode) -> Fitted:
        if array.ndim == 0:
            array = array[np.newaxis]
        if array.ndim > 2:
            raise BadUpdate(f"shape {array.shape} where rows of any length are expected")
        k, n = (1, len(array)) if array.ndim == 1 else array.shape
        _check_ragged(k)
        return Fitted(array.reshape(-1), lengths=[n] * k)

    def took(self, fitted: Fitted) -> None:
        self.rows += len(fitted.lengths or ())


def _check_ragged(rows: int) -> None:
    if rows > MAX_RAGGED_ROWS:
        raise BadUpdate(f"{rows} rows with a length of their own in one update")


def _piece(array: Array, mode: Mode, rows: int) -> tuple[Array, int]:
    """The 1-D piece of an add_slice update and its row, checked against the rows that are there."""
    if not isinstance(mode, AddSlice):
        raise BadUpdate("add_slice expected")
    if array.ndim == 0:
        array = array[np.newaxis]
    if array.ndim != 1:
        raise BadUpdate(f"shape {array.shape} where a 1-D piece of a row is expected")
    if type(mode.index) is not int or mode.index < 0:
        raise BadUpdate(f"index {str(mode.index)[:100]} is no number of a row")
    bound = mode.max_shape[0]
    if bound is not None and mode.index >= bound:
        raise BadUpdate(f"index {mode.index} is outside of max_shape {list(mode.max_shape)}")
    if mode.index > rows + MAX_NEW_ROWS:
        raise BadUpdate(f"index {mode.index} is far beyond the {rows} rows that are there")
    return array, mode.index


@dataclass
class Slices(Layout):
    """add_slice [None or M, N]: pieces go to the cursor of their row."""

    max_shape: MaxShape
    cursors: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    rows: int = 0
    empty: int = 0  # rows that have no data yet
    name: ClassVar[str] = "slices"

    @property
    def width(self) -> int:
        return int(self.max_shape[1] or 0)

    def fit(self, array: Array, mode: Mode) -> Fitted:
        if self.width * array.dtype.itemsize > SLICE_ROW_BYTES:
            raise BadUpdate(f"rows of {self.width} values are too long to be written in pieces")
        piece, row = _piece(array, mode, self.rows)
        empty = self.empty + max(row - self.rows, 0)
        nbytes = empty * self.width * array.dtype.itemsize
        if row >= self.rows and (empty > MAX_NEW_ROWS or nbytes > MAX_EMPTY_BYTES):
            raise BadUpdate(f"index {row} would make {empty} rows without data")
        column = int(self.cursors[row]) if row < self.rows else 0
        room = self.width - column
        if len(piece) <= room:
            return Fitted(piece, row=row, column=column)
        if room <= 0:
            raise BadUpdate(f"row {row} is full: max_shape {list(self.max_shape)}")
        reason = f"{len(piece)} values where {room} fit into row {row}: the rest was cut off"
        return Fitted(piece[:room], cut=1, cut_reason=reason, row=row, column=column)

    def took(self, fitted: Fitted) -> None:
        if fitted.row >= self.rows:
            if fitted.row >= len(self.cursors):
                grown = np.zeros(max(fitted.row + 1, 2 * len(self.cursors)), np.int64)
                grown[: self.rows] = self.cursors[: self.rows]
                self.cursors = grown
            self.empty += fitted.row + 1 - self.rows
            self.rows = fitted.row + 1
        if not fitted.column and len(fitted.array):
            self.empty -= 1
        self.cursors[fitted.row] = fitted.column + len(fitted.array)

    def resume(self, cursors: NDArray[np.int64]) -> None:
        """Go on with rows that are filled up to `cursors`."""
        self.cursors, self.rows = cursors, len(cursors)
        self.empty = int(np.count_nonzero(cursors == 0))


@dataclass
class Pieces(Layout):
    """add_slice [None, None]: pieces of ragged rows, kept in the order they came."""

    rows: int = 0
    name: ClassVar[str] = "pieces"

    def fit(self, array: Array, mode: Mode) -> Fitted:
        piece, row = _piece(array, mode, self.rows)
        return Fitted(piece, lengths=[len(piece)], row=row)

    def took(self, fitted: Fitted) -> None:
        self.rows = max(self.rows, fitted.row + 1)


@dataclass
class Replaced(Layout):
    """replace: the last value is the signal."""

    rows: int = 0
    name: ClassVar[str] = "replace"

    def fit(self, array: Array, mode: Mode) -> Fitted:
        return Fitted(array)

    def took(self, fitted: Fitted) -> None:
        self.rows = len(fitted.array) if fitted.array.ndim else 1


def layout_for(mode: Mode) -> Layout:
    """The layout that the first update of a signal asks for. Raises BadUpdate for an impossible
    max_shape.
    """
    if not isinstance(mode, Add | AddSlice):
        return Replaced()
    _check_max_shape(mode.max_shape)
    ragged = mode.max_shape == (None, None)
    if isinstance(mode, Add):
        return Ragged() if ragged else Rows(mode.max_shape)
    if len(mode.max_shape) != 2:
        raise BadUpdate(f"add_slice needs a max_shape of two, not {list(mode.max_shape)}")
    return Pieces() if ragged else Slices(mode.max_shape)


def _check_max_shape(max_shape: MaxShape) -> None:
    shape: list[Any] = list(max_shape)
    if not shape:
        raise BadUpdate("max_shape is empty")
    if None in shape[1:] and shape != [None, None]:
        raise BadUpdate(f"max_shape {shape}: only the first of several dimensions may be open")
    if any(size is not None and (type(size) is not int or size <= 0) for size in shape):
        raise BadUpdate(f"max_shape {shape}: dimensions must be positive")
    if math.prod(size for size in shape[1:] if size is not None) > 2**30:
        raise BadUpdate(f"max_shape {shape}: rows of more than 2**30 values")

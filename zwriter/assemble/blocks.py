"""A run of updates of one signal -> blocks of one dtype, ready to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble.layouts import Fitted, Layout, Rows
from zwriter.assemble.values import NUMERIC, Array, DType, as_array, cast_exact, cast_or_raise
from zwriter.errors import BadUpdate
from zwriter.model import Rejected, Update

_SMALL = 64 * 1024  # bytes: larger values are not worth a copy
_ENOUGH = 64 * 1024 * 1024  # bytes: what a padded row takes may be many times the message's


@dataclass(slots=True)
class Block:
    """Consecutive updates of one signal that share a dtype: what they become, in order.

    count: how many updates; fitted: their rows, an item each, or one for all of them;
    timestamps: arrays of seconds, NaN where an update had none; stamped: whether any had one;
    rows_each, stamps_each: rows and timestamps of each update, 0 when that varies.
    """

    dtype: DType
    count: int = 0
    fitted: list[Fitted] = field(default_factory=list)
    timestamps: list[NDArray[np.float64]] = field(default_factory=list)
    stamped: bool = False
    rows_each: int = 0
    stamps_each: int = 0
    nbytes: int = 0

    @property
    def arrays(self) -> list[Array]:
        return [fitted.array for fitted in self.fitted]

    def add(self, fitted: Fitted, stamps: NDArray[np.float64], *, stamped: bool) -> None:
        """One update more."""
        rows = len(fitted.array) if fitted.array.ndim else 1
        if not self.count:
            self.rows_each, self.stamps_each = rows, len(stamps)
        self.rows_each = rows if rows == self.rows_each else 0
        self.stamps_each = len(stamps) if len(stamps) == self.stamps_each else 0
        self.count += 1
        self.nbytes += fitted.array.nbytes
        self.fitted.append(fitted)
        self.timestamps.append(stamps)
        self.stamped |= stamped


def assemble(
    layout: Layout, updates: list[Update], agree: Callable[[DType], DType]
) -> Iterator[Block | Rejected]:
    """Fit `updates`, in order. What does not fit comes out as Rejected, and so does what was cut
    off.

    agree: given the dtype of an update, the dtype its signal has from now on (it may promote what
    is stored already), or BadUpdate. All blocks before it have been yielded when it is called.
    """
    alike = joined(layout, updates, agree)
    if alike is not None:
        yield alike
        return
    block: Block | None = None
    rejected: list[Rejected] = []
    agreed: dict[DType, DType] = {}
    for update in updates:
        try:
            array = as_array(update.value)
            stamps = timestamps_of(update.timestamp)
            fitted = layout.fit(array, update.mode)
            if array.dtype not in agreed:
                if block is not None:
                    yield block
                    block = None
                target = agree(array.dtype)
                if target not in agreed.values():
                    agreed.clear()
                agreed[array.dtype] = target
            target = agreed[array.dtype]
            if target != array.dtype:  # cast first: rows are padded with the fill of the target
                fitted = layout.fit(cast_or_raise(array, target), update.mode)
        except BadUpdate as error:
            rejected.append(reject(update, str(error)))
            continue
        if fitted.cut:
            rejected.append(reject(update, fitted.cut_reason))
        layout.took(fitted)
        if block is None:
            block = Block(target)
        block.add(fitted, stamps, stamped=update.timestamp is not None)
        if block.nbytes > _ENOUGH:
            yield block
            block = None
    if block is not None:
        yield block
    yield from rejected


def reject(update: Update, reason: str) -> Rejected:
    """`update` as something that goes to quarantine."""
    made_here = update if update.source is None else None
    return Rejected(update.device, update.signal, reason, update.source, update=made_here)


def timestamps_of(value: Any) -> NDArray[np.float64]:
    """One timestamp, or one a sample, as float64 seconds; NaN for none. Raises BadUpdate."""
    if isinstance(value, float):
        return np.array([value])
    if value is None:
        return np.array([np.nan])
    array = as_array(value)
    if array.dtype.kind not in "iuf" or array.ndim > 1:
        raise BadUpdate("a timestamp that is neither a number nor a list of numbers")
    return np.atleast_1d(array).astype(np.float64)


def joined(layout: Layout, updates: list[Update], agree: Callable[[DType], DType]) -> Block | None:
    """`updates` as one array, if they are alike and small: many times quicker than one by one."""
    if len(updates) < 2 or not isinstance(layout, Rows):
        return None
    values = _alike_arrays([update.value for update in updates])
    stamps = _alike_timestamps([update.timestamp for update in updates])
    if values is None or stamps is None:
        return None
    return join(layout, values, stamps if updates[0].timestamp is not None else None, agree)


def join(
    layout: Layout,
    values: Array,
    timestamps: NDArray[np.float64] | None,
    agree: Callable[[DType], DType],
) -> Block | None:
    """The block of k updates whose values (k, *shape) fit as they are, else None.

    timestamps: (k,), or None if the updates have none; agree: as for `assemble`.
    """
    if not isinstance(layout, Rows) or layout.max_shape[0] is not None:
        return None
    count, depth = len(values), len(layout.max_shape)
    rows = values.reshape(-1, *values.shape[2:]) if values.ndim == depth + 1 else values
    if rows.ndim != depth or not len(rows) or not layout.has_rows_of(rows.shape[1:]):
        return None
    layout.row_shape = rows.shape[1:]
    if rows.dtype.kind in NUMERIC:  # by its name: of two types that are the same, Zarr knows one
        rows = rows.view(np.dtype(rows.dtype.str))
    try:
        cast = cast_exact(rows, agree(rows.dtype))
    except BadUpdate:
        return None
    if cast is None:
        return None
    fitted = Fitted(cast)
    layout.took(fitted)
    stamps = np.full(count, np.nan) if timestamps is None else timestamps
    stamped = timestamps is not None
    return Block(cast.dtype, count, [fitted], [stamps], stamped, len(rows) // count, 1)


def _alike_arrays(values: list[Any]) -> Array | None:
    """All `values` as one array (k, *shape), if they are floats, ints, or arrays that are alike."""
    first = values[0]
    kinds = set(map(type, values))
    if kinds in ({float}, {int}):
        try:
            return as_array(values)
        except BadUpdate:  # each by itself may be stored
            return None
    if kinds != {np.ndarray} or first.nbytes > _SMALL or first.dtype.kind not in NUMERIC:
        return None
    dtype, shape = first.dtype, first.shape
    if not dtype.isnative or dtype.itemsize > 8 or not shape:
        return None
    count = len(values)
    shapes, dtypes = [value.shape for value in values], [value.dtype for value in values]
    if shapes.count(shape) < count or dtypes.count(dtype) < count:
        return None
    return np.concatenate(values).reshape(count, *shape)


def _alike_timestamps(values: list[Any]) -> NDArray[np.float64] | None:
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values)
    return np.full(len(values), np.nan) if kinds == {type(None)} else None

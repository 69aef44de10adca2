"""A run of updates of one signal -> blocks of one dtype, ready to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble.layouts import Fitted, Layout, Rows
from zwriter.assemble.values import NUMERIC, Array, DType, as_array, cast_exact
from zwriter.errors import BadUpdate
from zwriter.model import Rejected, Update

_SMALL = 64 * 1024  # bytes: larger values are not worth a copy


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
                fitted = layout.fit(_cast(array, target), update.mode)
        except BadUpdate as error:
            rejected.append(reject(update, str(error)))
            continue
        if fitted.cut:
            rejected.append(reject(update, fitted.cut_reason))
        layout.took(fitted)
        if block is None:
            block = Block(target)
        block.add(fitted, stamps, stamped=update.timestamp is not None)
    if block is not None:
        yield block
    yield from rejected


def _cast(array: Array, dtype: DType) -> Array:
    cast = cast_exact(array, dtype)
    if cast is None:
        raise BadUpdate(f"{array.dtype} values that {dtype} cannot hold without loss")
    return cast


def reject(update: Update, reason: str) -> Rejected:
    """`update` as something that goes to quarantine."""
    return Rejected(update.device, update.signal, reason, update.source)


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
    if len(updates) < 2 or not isinstance(layout, Rows) or layout.max_shape[0] is not None:
        return None
    array = _alike_arrays([update.value for update in updates], len(layout.max_shape))
    stamps = _alike_timestamps([update.timestamp for update in updates])
    if array is None or stamps is None or array.shape[1:] != layout.row_shape:
        return None
    try:
        cast = cast_exact(array, agree(array.dtype))
    except BadUpdate:
        return None
    if cast is None:
        return None
    fitted = Fitted(cast)
    layout.took(fitted)
    stamped = updates[0].timestamp is not None
    rows_each = len(array) // len(updates)
    return Block(cast.dtype, len(updates), [fitted], [stamps], stamped, rows_each, 1)


def _alike_arrays(values: list[Any], depth: int) -> Array | None:
    """Rows of all `values`, if these are floats, ints, or arrays of one dtype and shape."""
    first = values[0]
    kinds = set(map(type, values))
    if depth == 1 and kinds in ({float}, {int}):
        return as_array(values)
    if kinds != {np.ndarray} or first.nbytes > _SMALL or first.dtype.kind not in NUMERIC:
        return None
    dtype, shape = first.dtype, first.shape
    if not dtype.isnative or dtype.itemsize > 8 or not depth - 1 <= len(shape) <= depth:
        return None
    if any(value.shape != shape or value.dtype != dtype for value in values) or not shape:
        return None
    rows = np.concatenate(values)
    return rows if len(shape) == depth else rows.reshape(len(values), *shape)


def _alike_timestamps(values: list[Any]) -> NDArray[np.float64] | None:
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values)
    return np.full(len(values), np.nan) if kinds == {type(None)} else None

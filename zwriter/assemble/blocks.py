"""A run of updates of one signal -> blocks of one dtype, ready to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble.layouts import Fitted, Layout
from zwriter.assemble.values import Array, DType, as_array, cast_exact
from zwriter.errors import BadUpdate
from zwriter.model import Rejected, Update


@dataclass(slots=True)
class Block:
    """Consecutive updates of one signal that share a dtype.

    updates and fitted correspond; timestamps has an array (t,) for each, NaN where there was none.
    """

    dtype: DType
    updates: list[Update] = field(default_factory=list)
    fitted: list[Fitted] = field(default_factory=list)
    timestamps: list[NDArray[np.float64]] = field(default_factory=list)
    stamped: bool = False

    @property
    def arrays(self) -> list[Array]:
        return [fitted.array for fitted in self.fitted]


def assemble(
    layout: Layout, updates: Iterable[Update], agree: Callable[[DType], DType]
) -> Iterator[Block | Rejected]:
    """Fit `updates`, in order. What does not fit comes out as Rejected, and so does what was cut
    off.

    agree: given the dtype of an update, the dtype its signal has from now on (it may promote what
    is stored already), or BadUpdate. All blocks before it have been yielded when it is called.
    """
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
        block.updates.append(update)
        block.fitted.append(fitted)
        block.timestamps.append(stamps)
        block.stamped |= update.timestamp is not None
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

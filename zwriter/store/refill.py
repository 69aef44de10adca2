"""What was never measured, in an array that gets another dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import fill_value

Refill = Callable[[int, NDArray[Any]], None]
"""Called with the number of a row, and the rows from there on, in a new dtype: puts its fill value
where nothing was measured."""


def refill_for(
    known: np.dtype[Any],
    dtype: np.dtype[Any],
    missing: Sequence[Sequence[int]],
    lengths_of: Callable[[], NDArray[np.int64] | None],
) -> Refill:
    """For rows that are of `dtype` now: zero stands for what is missing among integers, NaN among
    floats. missing: first and last of rows that never came; lengths_of: gives how far each row is
    filled, None where all are whole, or have no length.
    """
    if known.kind in "fc" or dtype.kind not in "fc":
        return lambda first, rows: None
    lengths = lengths_of()

    def refill(first: int, rows: NDArray[Any]) -> None:
        for begin, end in missing:
            rows[max(begin - first, 0) : max(end + 1 - first, 0)] = fill_value(dtype)
        if lengths is not None and rows.ndim == 2:
            filled = np.zeros(len(rows), np.int64)  # behind the last row a chunk has more
            of_these = lengths[first : first + len(rows)]
            filled[: len(of_these)] = of_these
            rows[np.arange(rows.shape[1]) >= filled[:, np.newaxis]] = fill_value(dtype)

    return refill

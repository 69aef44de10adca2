"""Readings, one per scan point, made into one array.

BEC's writer stores `[1, 2.5]` as the text "[1, 2.5]" and drops ragged values and None; here
numbers stay numbers, None becomes NaN, and what has no common shape stays a list of rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any] | list[NDArray[Any]]
TEXT = np.dtypes.StringDType()
_ONLY_TEXT = np.dtypes.StringDType(coerce=False)
_NUMBERS = "biufc"


def column(values: Sequence[Any]) -> Column:
    """One array (n, *row) of n readings; a list of n arrays where their shapes differ.

    Numbers of different types take the type that holds them all; None is NaN among numbers and ""
    among texts. Readings without a common type become text: as they are, or as JSON.
    """
    try:
        rows = [None if value is None else _row(value) for value in values]
        present = [row for row in rows if row is not None]
        dtype = _common_type(present, gaps=len(present) < len(rows))
    except (TypeError, ValueError):
        return np.array([_text(value) for value in values], dtype=TEXT)
    shapes = {row.shape for row in present} or {()}
    if len(shapes) > 1:
        empty = np.empty(0, dtype)
        return [empty if row is None else row.astype(dtype) for row in rows]
    gap = np.full(shapes.pop(), np.nan if dtype.kind in "fc" else np.zeros((), dtype), dtype)
    return np.stack([gap if row is None else row.astype(dtype) for row in rows])


def _row(value: Any) -> NDArray[Any]:
    """Raises TypeError or ValueError for what is not an array of one type."""
    row = np.asarray(value)
    if row.dtype.kind == "U":
        return np.asarray(value, dtype=_ONLY_TEXT).astype(TEXT)
    if row.dtype.kind == "O":
        return row.astype(np.float64)
    return row


def _common_type(rows: Sequence[NDArray[Any]], *, gaps: bool) -> np.dtype[Any]:
    """Raises TypeError where numbers and other things are mixed."""
    if not rows:
        return np.dtype(np.float64)
    if len({row.dtype.kind in _NUMBERS for row in rows}) > 1:
        raise TypeError("numbers and other things")
    dtype = np.result_type(*{row.dtype for row in rows})
    return np.dtype(np.float64) if gaps and dtype.kind in "biu" else dtype


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=_jsonable)


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)

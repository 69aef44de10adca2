"""Readings, one per scan point, made into one array.

BEC's writer stores `[1, 2.5]` as the text "[1, 2.5]" and drops ragged values and None; here
numbers stay numbers, None becomes NaN, and what has no common shape stays a list of rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import as_array, cast_or_raise, common_dtype, fill_value
from zwriter.errors import BadUpdate
from zwriter.protocol.codec import Message

Column = NDArray[Any] | list[NDArray[Any]]


def column(values: Sequence[Any]) -> Column:
    """One array (n, *row) of n readings; a list of n arrays where numbers come in different shapes.

    Numbers of different types take the type that holds them all; None is NaN among numbers and ""
    among texts. Readings without a common type become text: as they are, or as JSON.
    """
    try:
        return as_array(list(values))
    except BadUpdate:
        pass
    try:
        return _column_of_arrays([None if value is None else as_array(value) for value in values])
    except BadUpdate:
        return as_array([_text(value) for value in values])


def _column_of_arrays(rows: list[NDArray[Any] | None]) -> Column:
    present = [row for row in rows if row is not None]
    dtype = reduce(_common, [row.dtype for row in present])
    if len(present) < len(rows) and dtype.kind in "biu":
        dtype = np.dtype(np.float64)
    shapes = {row.shape for row in present}
    ragged = len(shapes) > 1
    if ragged and dtype.kind not in "biufc":
        raise BadUpdate("texts in different shapes")
    gap = np.full(0 if ragged else shapes.pop(), fill_value(dtype), dtype)
    filled = [gap if row is None else cast_or_raise(row, dtype) for row in rows]
    return filled if ragged else np.stack(filled)


def _common(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    dtype = common_dtype(first, second)
    if dtype is None:
        raise BadUpdate(f"{first} and {second} have no common type")
    return dtype


def json_text(value: Any) -> str:
    """`value` as JSON; what JSON does not have, as Python prints it."""
    try:
        return json.dumps(value, default=_jsonable)
    except (TypeError, ValueError):
        return repr(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json_text(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Message):
        return value.data
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)

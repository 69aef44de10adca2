"""What programs give a writer: values, shapes, numbers and names."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from zwriter.errors import UsageError
from zwriter.model import MaxShape

_PLAIN = (float, int, bool, complex, str, bytes, type(None))


def copied(value: Any) -> Any:
    """`value`; of memory that the program may use again, be it only a buffer, a copy."""
    if isinstance(value, list | tuple):
        return [item if type(item) in _PLAIN else copied(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in _PLAIN or isinstance(value, dict | np.generic):
        return value
    try:
        return np.array(value)
    except (TypeError, ValueError, RuntimeError, BufferError):  # told where it is taken
        return value


def shape_of(value: Any) -> tuple[int, ...]:
    """That of a scalar if the value has none, which is told where it is taken."""
    try:
        return np.shape(value)
    except ValueError:
        return ()


def max_shape_of(given: Any) -> MaxShape:
    """As whole numbers. Raises UsageError if it is no shape at all."""
    try:
        return tuple(None if size is None else whole(size) for size in given)
    except TypeError:
        raise UsageError(f"max_shape {given!r}: give a shape, as [None, 512, 512]") from None


def whole(number: Any) -> Any:
    """A whole number as Python has it; anything else as it is, to be told where it is taken."""
    try:
        return operator.index(number)
    except TypeError:
        return number


def check_names(scan_id: Any, scan_number: Any) -> None:
    """Raises UsageError for what is no name of a scan."""
    if scan_id is not None and not isinstance(scan_id, str):
        raise UsageError(f"scan_id {scan_id!r}: give a text")
    if scan_number is not None and (not isinstance(scan_number, int) or scan_number < 0):
        raise UsageError(f"scan_number {scan_number!r}: give a whole number that is not negative")

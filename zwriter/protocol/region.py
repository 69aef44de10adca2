"""Where a value lies in the bytes of a message, and how; and how it is read from many at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.model import stored_as_they_come
from zwriter.raw import Messages

_INTEGERS = {0xCC: ">u1", 0xCD: ">u2", 0xCE: ">u4", 0xCF: ">u8", 0xD0: ">i1", 0xD1: ">i2"}
_INTEGERS |= {0xD2: ">i4", 0xD3: ">i8"}
_LIMITS = {"<u1": 2**7, ">u8": 2**63}  # from there on a byte is no number, a number no int64


@dataclass(frozen=True)
class Region:
    """Where a value lies, and how: `dtype` and `shape` in the message; `lead` bytes before each
    item say its type, and must be the same everywhere."""

    start: int
    dtype: str
    shape: tuple[int, ...] = ()
    lead: int = 0

    @cached_property
    def step(self) -> int:
        return self.lead + np.dtype(self.dtype).itemsize

    @cached_property
    def count(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def end(self) -> int:
        return self.start + self.step * self.count

    def constant(self) -> list[int]:
        """The bytes of the region that are not value."""
        return [self.start + i * self.step for i in range(self.count * bool(self.lead))]

    def read(self, messages: Messages) -> NDArray[Any]:
        """The values (k, *shape) of k messages, little-endian; not copied where that can be."""
        raw = messages.part(self.start, self.end)
        if self.lead:
            raw = raw.reshape(len(messages), self.count, self.step)[:, :, self.lead :]
            raw = np.ascontiguousarray(raw).reshape(len(messages), -1)
        values = raw.view(self.dtype).reshape(len(messages), *self.shape)
        if values.dtype.isnative:
            return values
        return values.astype(values.dtype.newbyteorder("<"))

    def integers(self, messages: Messages) -> NDArray[np.int64] | None:
        """As `read`; None if one of them is no integer any more, or needs more than 63 bits."""
        values, limit = self.read(messages), _LIMITS.get(self.dtype)
        if limit is not None and (values >= limit).any():
            return None
        return values.astype(np.int64)


def value_region(raw: bytes, node: Any, value: Any) -> Region:
    """That of `value`, which is at `node`. Raises TypeError, ValueError, LookupError if it cannot
    be read from messages at once."""
    if isinstance(value, np.ndarray | np.generic):
        start, nbytes = node["__bec_codec__"]["data"][b"data"]
        if value.dtype.kind not in "biufc" or nbytes != value.nbytes or not nbytes:
            raise ValueError("no array of numbers")
        if not stored_as_they_come(value.dtype):
            raise TypeError("numbers that are stored as smaller ones")
        return Region(start, value.dtype.str, value.shape)
    if isinstance(value, list):
        return _list_region(raw, node, value)
    if isinstance(value, float):
        _check_double(raw, node)
        return Region(node[0] + 1, ">f8")
    if isinstance(value, int) and not isinstance(value, bool):
        return integer_region(raw, node)
    raise TypeError("a value that is neither a number nor an array")


def _list_region(raw: bytes, node: Any, value: list[Any]) -> Region:
    if set(map(type, value)) != {float}:
        raise TypeError("a list that is not of floats")
    for item in node:
        _check_double(raw, item)
    return Region(node[0][0], ">f8", (len(value),), lead=1)


def timestamp_region(raw: bytes, node: Any, value: Any) -> Region | None:
    """That of a timestamp, if there is one. Raises as `value_region` does."""
    if value is None:
        return None
    if not isinstance(value, float):
        raise TypeError("a timestamp that is not a float")
    _check_double(raw, node)
    return Region(node[0] + 1, ">f8")


def _check_double(raw: bytes, node: Any) -> None:
    """Python's floats may have been 32 bits in the message."""
    if raw[node[0]] != 0xCB:
        raise TypeError("a float that is not of 64 bits")


def integer_region(raw: bytes, node: Any) -> Region:
    """That of an integer. Raises as `value_region` does."""
    kind = raw[node[0]]
    if kind < 0x80:
        return Region(node[0], "<u1")
    return Region(node[0] + 1, _INTEGERS[kind])

"""What a device pushed, as updates: one per signal, checked against the rules of the wire."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from reprlib import repr as shown  # bounded in length and depth
from typing import Any

import numpy as np

from zwriter.errors import BadMessage
from zwriter.model import Add, AddSlice, MaxShape, Mode, Rejected, Replace, Source, Update
from zwriter.protocol.codec import MAX_NDIM, Message
from zwriter.protocol.keys import safe_name

MAX_INDEX = 2**24  # rows that are written in pieces: each costs memory, with or without data
MAX_ROW_ITEMS = 2**30
MAX_NUMBER = 2**48  # of an update; a counter beyond that is none
_TIMESTAMP = (float, int, list, np.ndarray, np.number, type(None))


def updates_in(message: Message, device: str, source: Source) -> Iterator[Update | Rejected]:
    """One Update per signal of a DeviceMessage, or a Rejected that says why there is none.

    A name that is not safe is only in the reason: the Rejected has "" in its place. Without a
    signal it stands for the whole message. Never raises.
    """
    if not safe_name(device):
        yield _rejected("", "", f"{shown(device)} cannot be the name of a device", source)
        return
    signals = message.data.get("signals")
    if message.type != "DeviceMessage" or not isinstance(signals, dict):
        yield _rejected(
            device, "", f"a {shown(message.type)} is no DeviceMessage with signals", source
        )
        return
    mode, fault = _mode_or_fault(message)
    numbers = message.metadata.get("async_indices")
    if not isinstance(numbers, dict):
        numbers = {}
    for signal, reading in signals.items():
        try:
            if not safe_name(signal):
                raise BadMessage(f"{shown(signal)} cannot be the name of a signal")
            if fault:
                raise BadMessage(fault)
            value, timestamp = _value_and_timestamp(reading)
            signal_mode = mode or _append(value)
        except BadMessage as error:
            yield _rejected(device, signal if safe_name(signal) else "", str(error), source)
            continue
        number = numbers.get(signal)
        if type(number) is not int or not 0 <= number < MAX_NUMBER:
            number = None
        yield Update(device, signal, signal_mode, value, timestamp, number, source)


def _rejected(device: str, signal: str, reason: str, source: Source) -> Rejected:
    return Rejected(device, signal, reason, source, time.time())


def _value_and_timestamp(reading: Any) -> tuple[Any, Any]:
    if not isinstance(reading, dict) or "value" not in reading:
        raise BadMessage("no value")
    timestamp = reading.get("timestamp")
    if not isinstance(timestamp, _TIMESTAMP) or isinstance(timestamp, bool):
        raise BadMessage(f"the timestamp is a {type(timestamp).__name__}, not seconds")
    return reading["value"], timestamp


def _mode_or_fault(message: Message) -> tuple[Mode | None, str]:
    """The mode of all signals; None without a fault is the legacy "append" (see _append)."""
    try:
        return _mode(message.metadata.get("async_update")), ""
    except BadMessage as error:
        return None, str(error)


def _mode(async_update: Any) -> Mode | None:
    if async_update is None:
        raise BadMessage("no async_update in the metadata")
    if isinstance(async_update, str):
        if async_update == "extend":
            return Add((None,))
        if async_update == "append":
            return None
        raise BadMessage(f"unknown async_update {shown(async_update)}")
    if not isinstance(async_update, dict):
        raise BadMessage(f"async_update is a {type(async_update).__name__}, not a map")
    match async_update.get("type"):
        case str("add"):
            return Add(_max_shape(async_update.get("max_shape")))
        case str("add_slice"):
            max_shape = _max_shape(async_update.get("max_shape"))
            return AddSlice(max_shape, _index(async_update.get("index"), max_shape))
        case str("replace"):
            return Replace()
        case other:
            raise BadMessage(
                f"unknown async_update type {shown(other)}; known are add, add_slice and replace"
            )


def _append(value: Any) -> Add:
    """The legacy "append": each update is one row of the value's shape."""
    try:
        shape = np.shape(value)
    except (ValueError, TypeError) as error:
        raise BadMessage("the legacy update 'append' needs a value with a shape") from error
    return Add(_max_shape([None, *shape]))


def _max_shape(dims: Any) -> MaxShape:
    if not isinstance(dims, list | tuple) or not 0 < len(dims) <= MAX_NDIM:
        raise BadMessage(f"max_shape {shown(dims)} is not a list of 1 to {MAX_NDIM} dimensions")
    dims = [_plain(dim) for dim in dims]
    if not all(dim is None or (type(dim) is int and dim > 0) for dim in dims):
        raise BadMessage(f"max_shape {shown(dims)}: a dimension is a positive integer or None")
    leading = next((axis for axis, dim in enumerate(dims) if dim is not None), len(dims))
    if None in dims[leading:]:
        raise BadMessage(f"max_shape {shown(dims)}: None may only lead")
    if leading == len(dims) > 2:
        raise BadMessage(f"max_shape {shown(dims)}: at most two dimensions when all are None")
    if math.prod(dim or 1 for dim in dims[1:]) > MAX_ROW_ITEMS:
        raise BadMessage(f"max_shape {shown(dims)}: a row has more than {MAX_ROW_ITEMS} items")
    return tuple(dims)


def _plain(number: Any) -> Any:
    """One of numpy, as devices may send it, as Python has it."""
    return int(number) if isinstance(number, np.integer) else number


def _index(index: Any, max_shape: MaxShape) -> int:
    if len(max_shape) != 2:
        raise BadMessage(f"add_slice with max_shape {shown(max_shape)}; it needs two dimensions")
    index, limit = _plain(index), MAX_INDEX
    if max_shape[0] is not None:
        limit = min(max_shape[0], MAX_INDEX)
    if type(index) is not int or not 0 <= index < limit:
        raise BadMessage(f"add_slice with index {shown(index)}; it must be from 0 to {limit - 1}")
    return index

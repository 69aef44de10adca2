"""What a reader must find after so many pushes of a simulated device, in the plainest way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.model import Add, AddSlice, Mode, Replace
from zwriter.reader import Signal
from zwriter.sim.devices import Device

Array = NDArray[Any]


@dataclass(frozen=True)
class Expected:
    """`value`: an array, or a list of rows where these are ragged; `timestamp`: since 1970."""

    value: Array | list[Array]
    timestamp: Array

    def check(self, signal: Signal) -> None:
        """Raises AssertionError that says where the signal, as it was read, differs."""
        if isinstance(self.value, list):
            assert [len(row) for row in signal.rows] == [len(row) for row in self.value]
            for i, row in enumerate(self.value):
                np.testing.assert_array_equal(signal.rows[i], row, f"row {i}", strict=True)
        else:
            np.testing.assert_array_equal(signal.value[...], self.value, strict=True)
        assert signal.timestamp is not None
        np.testing.assert_array_equal(np.ravel(signal.timestamp[...]), self.timestamp)


def expected(device: Device, n: int, start: float = 0.0) -> dict[str, Expected]:
    """Signal -> what it holds after the first `n` pushes of a scan that began at `start`."""
    modes: dict[str, list[Mode]] = {}
    values: dict[str, list[Array]] = {}
    times: dict[str, list[Any]] = {}
    for i in range(n):
        push = device.push(i, start)
        for signal, reading in push.readings.items():
            modes.setdefault(signal, []).append(push.mode)
            values.setdefault(signal, []).append(np.asarray(reading["value"]))
            times.setdefault(signal, []).append(np.atleast_1d(reading["timestamp"]))
    return {signal: _fold(modes[signal], values[signal], times[signal]) for signal in values}


def _fold(modes: list[Mode], values: list[Array], times: list[Array]) -> Expected:
    match modes[0]:
        case Replace():
            return Expected(values[-1], times[-1])
        case Add(max_shape=(None, None)):
            return Expected(values, np.concatenate(times))
        case Add(max_shape=(None, *row)):
            rows = [value.reshape(-1, *(n or 1 for n in row)) for value in values]
            return Expected(np.concatenate(rows), np.concatenate(times))
        case AddSlice(max_shape=(_, width)):
            indices = [mode.index for mode in modes if isinstance(mode, AddSlice)]
            rows = [
                np.concatenate([v for i, v in zip(indices, values, strict=True) if i == row])
                if row in indices
                else values[0][:0]
                for row in range(max(indices) + 1)
            ]
            value = rows if width is None else np.stack([_padded(row, width) for row in rows])
            return Expected(value, np.concatenate(times))
        case mode:
            raise ValueError(f"{mode} is no mode of a simulated device")


def _padded(row: Array, width: int) -> Array:
    """Filled up with what the store has where nothing came: NaN, or 0 for integers."""
    fill = np.full(width, np.nan if row.dtype.kind in "fc" else 0, row.dtype)
    fill[: len(row)] = row
    return fill

"""Simulated devices: from a SPEC to what a device pushes.

    SPEC    [NAME:]KIND[:FIELD]...        for example  eiger:frames:512x512:u2:50Hz
    FIELD   512x512   shape of a row      u2    numpy dtype
            50Hz      pushes a second     x100  rows (or samples, where there are no rows) in a push

The n-th push of a device is a function of n alone: a test can say what must be in the store.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import UsageError
from zwriter.model import Add, AddSlice, Mode, Replace
from zwriter.protocol.keys import safe_name

Array = NDArray[Any]

_PATTERNS = 8


@dataclass(frozen=True)
class Device:
    """A simulated device. `shape` is the shape of a row, or what the kind makes of it."""

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = "f8"
    rate: float = 10.0
    block: int = 1

    @property
    def stream(self) -> str:
        """The storage name of its async signal, which names its stream."""
        return f"{self.name}_{KINDS[self.kind].signal}"

    def pushes(self, seconds: float) -> int:
        """How many pushes it makes in that time; one that fills up stops then."""
        count = round(seconds * self.rate)
        if self.kind == "slices" and len(self.shape) == 2:
            return min(count, self.shape[0] * -(-self.shape[1] // self.block))
        return count

    def push(self, n: int, start: float = 0.0) -> Push:
        """Its n-th push in a scan that began at `start` (seconds since 1970)."""
        return KINDS[self.kind].push(self, n, start + n / self.rate)


@dataclass(frozen=True)
class Push:
    """One message: signal -> {"value", "timestamp"}, all in the same mode."""

    mode: Mode
    readings: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """What devices there are: the signal's name, what a SPEC may leave out, the n-th push."""

    signal: str
    ndim: tuple[int, ...]
    default: Device
    push: Callable[[Device, int, float], Push]


def device(spec: str) -> Device:
    """The device of a SPEC. Raises UsageError."""
    first, *rest = spec.split(":")
    name, kind, fields = first, first, rest
    if first not in KINDS and rest:
        kind, fields = rest[0], rest[1:]
    if kind not in KINDS or not safe_name(name):
        raise UsageError(f"{spec!r} is no [NAME:]KIND[:FIELD]...; kinds are {', '.join(KINDS)}")
    made = replace(KINDS[kind].default, name=name)
    for text in fields:
        made = replace(made, **_field(spec, text))
    if not (all(made.shape) and made.rate and made.block):
        raise UsageError(f"{spec!r}: numbers must be positive")
    if len(made.shape) not in KINDS[kind].ndim:
        raise UsageError(f"{spec!r}: {kind} cannot have the shape {made.shape}")
    return made


def _field(spec: str, text: str) -> dict[str, Any]:
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)Hz", text):
        return {"rate": float(found[1])}
    if found := re.fullmatch(r"x(\d+)", text):
        return {"block": int(found[1])}
    if re.fullmatch(r"[<>]?[iu][1248]|[<>]?f[48]|[<>]?c(8|16)", text):
        return {"dtype": text}
    if re.fullmatch(r"\d+(x\d+)*", text):
        return {"shape": tuple(int(n) for n in text.split("x"))}
    raise UsageError(f"{spec!r}: {text!r} is no shape (512x512), dtype (u2), rate (50Hz) or x100")


def _samples(device: Device, first: int, count: int, phase: int = 0) -> Array:
    """Samples first to first + count of a slow wave, 0 to 200."""
    angles = np.arange(first, first + count) / 200 + phase
    samples: Array = np.rint(100 + 100 * np.sin(angles)).astype(device.dtype)
    return samples


@lru_cache(maxsize=32)
def _patterns(name: str, shape: tuple[int, ...], dtype: str) -> Array:
    """(8, *shape): a spot that moves, on a noisy background."""
    noise = np.random.default_rng(zlib.crc32(name.encode()))
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    patterns = np.empty((_PATTERNS, *shape), dtype)
    for i in range(_PATTERNS):
        centre = 0.5 * np.cos(2 * np.pi * i / _PATTERNS)
        spot = np.exp(-sum((x - centre) ** 2 for x in axes) / 0.05)
        patterns[i] = noise.poisson(2 + 100 * spot)
    return patterns


def _rows(device: Device, first: int, count: int) -> Array:
    """Rows first to first + count: a pattern; the first item is the row's number, modulo 128."""
    numbers = np.arange(first, first + count)
    rows: Array = _patterns(device.name, device.shape, device.dtype)[numbers % _PATTERNS]
    rows.reshape(count, -1)[:, 0] = numbers % 128
    return rows


def _varying(device: Device, n: int) -> Array:
    """A piece whose length, 1 to shape[0], changes from push to push."""
    return _samples(device, n, 1 + n * 37 % device.shape[0])


def _one(device: Device, mode: Mode, value: Any, timestamp: Any) -> Push:
    return Push(mode, {device.stream: {"value": value, "timestamp": timestamp}})


def _push_samples(device: Device, n: int, time: float) -> Push:
    if device.block == 1:
        return _one(device, Add((None,)), _samples(device, n, 1)[0].item(), time)
    samples = _samples(device, n * device.block, device.block)
    times = time + np.arange(device.block) / device.block / device.rate
    return _one(device, Add((None,)), samples, times.tolist())


def _push_rows(device: Device, n: int, time: float) -> Push:
    rows = _rows(device, n * device.block, device.block)
    return _one(device, Add((None, *device.shape)), rows[0] if device.block == 1 else rows, time)


def _push_ragged(device: Device, n: int, time: float) -> Push:
    return _one(device, Add((None, None)), _varying(device, n), time)


def _push_slice(device: Device, n: int, time: float) -> Push:
    """Pieces of all rows in turn, again and again; four rows at a time where there is no bound."""
    *bound, width = device.shape
    rows = bound[0] if bound else 4
    visits = -(-width // device.block)
    group, turn = divmod(n, rows * visits)
    visit, row = divmod(turn, rows)
    length = min(device.block, width - visit * device.block)
    mode = AddSlice((bound[0] if bound else None, width), group * rows + row)
    return _one(device, mode, _samples(device, n * device.block, length), time)


def _push_piece(device: Device, n: int, time: float) -> Push:
    """Pieces of ragged rows: four pieces each, four rows at a time."""
    mode = AddSlice((None, None), n // 16 * 4 + n % 4)
    return _one(device, mode, _varying(device, n), time)


def _push_replacement(device: Device, n: int, time: float) -> Push:
    return _one(device, Replace(), _rows(device, n, 1)[0], time)


def _push_all(device: Device, n: int, time: float) -> Push:
    """All sub-signals in each push, as AsyncMultiSignal does."""
    return _push_subs(device, n, time, list(range(device.shape[0])))


def _push_some(device: Device, n: int, time: float) -> Push:
    """Two of three sub-signals in each push, as DynamicSignal may."""
    return _push_subs(device, n, time, [j for j in range(device.shape[0]) if (n + j) % 3])


def _push_subs(device: Device, n: int, time: float, subs: list[int]) -> Push:
    readings = {
        f"{device.stream}_ch{j}": {
            "value": _samples(device, n * device.block, device.block, phase=j),
            "timestamp": time,
        }
        for j in subs
    }
    return Push(Add((None,)), readings)


def _kind(
    name: str,
    signal: str,
    push: Callable[[Device, int, float], Push],
    ndim: tuple[int, ...] = (1,),
    **default: Any,
) -> Kind:
    return Kind(signal, ndim, Device(name=name, kind=name, **default), push)


KINDS = {
    kind.default.kind: kind
    for kind in (
        _kind("scalars", "value", _push_samples, ndim=(0,), block=1000),
        _kind("vectors", "position", _push_rows, shape=(10,), block=100, rate=20),
        _kind("spectra", "spectrum", _push_rows, shape=(2048,), dtype="u4", rate=100),
        _kind("frames", "image", _push_rows, ndim=(2,), shape=(512, 512), dtype="u2", rate=50),
        _kind("ragged", "events", _push_ragged, shape=(500,)),
        _kind("slices", "map", _push_slice, ndim=(1, 2), shape=(1000,), block=50),
        _kind("pieces", "trace", _push_piece, shape=(300,)),
        _kind("replace", "average", _push_replacement, ndim=(1, 2, 3), shape=(100,), rate=2),
        _kind("multi", "data", _push_all, shape=(3,), block=20, rate=20),
        _kind("dynamic", "data", _push_some, shape=(3,), block=5),
    )
}

DEFAULT_SPECS = (
    "eiger:frames:512x512:u2:50Hz",
    "pco:frames:256x256:u2:x4:5Hz",
    "mcs:spectra:2048:u4:100Hz",
    "panda:vectors:10:x100:20Hz",
    "adc:scalars:x1000:10Hz",
    "temperature:scalars:x1:5Hz",
    "digitizer:ragged:500:20Hz",
    "xmap:slices:8x1000:x50:20Hz",
    "fly:slices:1000:x50:24Hz",
    "tof:pieces:300:20Hz",
    "live:replace:100:2Hz",
    "multi:20Hz",
    "dynamic:10Hz",
)
"""Each row of the table of update modes, both kinds of devices with sub-signals."""

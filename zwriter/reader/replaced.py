"""Arrays that are written anew at each commit, read while the scan is live.

Their bytes need not outlive the next commit (docs/format.md, generations), which has their
checksums. So a signal's arrays are read whole, together, from one commit: the newest one when they
are first asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from zwriter.errors import StoreError
from zwriter.reader.commits import ArrayCommit, DeviceCommit, SignalCommit, read_commit
from zwriter.reader.lazy import UNREADABLE, InMemory, LazyArray
from zwriter.reader.location import Location
from zwriter.store.array_state import dtype_from_json
from zwriter.store.codecs import ChunkCodec, intact
from zwriter.store.layout import DEVICES
from zwriter.store.zarr_json import chunk_key, stored_shape

ATTEMPTS = 50
PAUSE = 0.01


class ReplacedArrays(Mapping[str, LazyArray]):
    """A replaced signal's arrays by name, of one commit. Raises StoreError if none can be read."""

    def __init__(self, location: Location, device: str, signal: str, commit: SignalCommit) -> None:
        self._location, self._device, self._signal = location, device, signal
        self._names = tuple(commit.arrays)
        self._arrays: dict[str, LazyArray] | None = None

    def __getitem__(self, name: str) -> LazyArray:
        if self._arrays is None:
            self._arrays = self._read()
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _read(self) -> dict[str, LazyArray]:
        problem: Exception | None = None
        for _ in range(ATTEMPTS):
            arrays = self._committed().signals[self._signal].arrays
            try:
                return {name: self._read_one(name, array) for name, array in arrays.items()}
            except UNREADABLE as error:
                problem = error
            time.sleep(PAUSE)
        where = f"{self._location}/{DEVICES}/{self._device}/{self._signal}"
        raise StoreError(f"{where}: no commit of it can be read ({problem})")

    def _read_one(self, name: str, commit: ArrayCommit) -> LazyArray:
        """The array as of the commit, whatever there is by now: its checksum tells."""
        node = f"{DEVICES}/{self._device}/{self._signal}/{name}"
        newest = self._location.metadata(node) or {}
        dtype, shape = dtype_from_json(commit.dtype), commit.shape
        value = np.empty(shape, dtype)
        if value.size:
            key = chunk_key(commit.generation, len(stored_shape(shape, dtype)), 0)
            stored = (self._location.path / node / key).read_bytes()
            if not intact(stored, commit.crc):
                raise StoreError(f"{node} is damaged, or was replaced while it was read")
            value = _codec(newest, dtype).decode(stored, shape)
        names = [*(newest.get("dimension_names") or ()), *[None] * value.ndim]
        dims = tuple(names[axis] or f"dim_{axis}" for axis in range(value.ndim))
        source = f"{self._device}/{self._signal}/{name}"
        return LazyArray(InMemory(source, value, dims, newest.get("attributes", {})))

    def _committed(self) -> DeviceCommit:
        commit = read_commit(self._location, self._device)
        if commit is None or self._signal not in commit.signals:
            raise StoreError(f"{self._location}: {self._device}/{self._signal} is gone")
        return commit


def _codec(document: dict[str, Any], dtype: np.dtype[Any]) -> ChunkCodec:
    """As an array's `zarr.json` names it: it changes with the settings only."""
    blosc = [c["configuration"] for c in document.get("codecs", ()) if c["name"] == "blosc"]
    name, level = (blosc[0]["cname"], blosc[0]["clevel"]) if blosc else ("none", 0)
    return ChunkCodec(dtype, name, level)

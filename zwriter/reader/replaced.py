"""Arrays that are written anew at each commit, read while the scan is live.

Their bytes need not outlive the next commit (docs/format.md, generations). So a signal's arrays are
read whole, together, from one commit: the newest one when they are first asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from zwriter.errors import StoreError
from zwriter.reader.arrays import open_document
from zwriter.reader.commits import ArrayCommit, DeviceCommit, SignalCommit, read_commit
from zwriter.reader.lazy import UNREADABLE, InStore, LazyArray
from zwriter.reader.location import Location
from zwriter.store.array_state import dtype_from_json
from zwriter.store.codecs import ChunkCodec
from zwriter.store.layout import DEVICES
from zwriter.store.zarr_json import array_json

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
            commit = self._committed()
            try:
                arrays = commit.signals[self._signal].arrays
                read = {name: self._read_one(name, array) for name, array in arrays.items()}
            except UNREADABLE as error:
                problem = error
            else:
                now = self._committed()
                # what a commit points to is not overwritten before the next one is made
                if (now.epoch, now.seq) == (commit.epoch, commit.seq):
                    return read
            time.sleep(PAUSE)
        where = f"{self._location}/{DEVICES}/{self._device}/{self._signal}"
        raise StoreError(f"{where}: no commit of it can be read ({problem or 'replaced too fast'})")

    def _read_one(self, name: str, commit: ArrayCommit) -> LazyArray:
        node = f"{DEVICES}/{self._device}/{self._signal}/{name}"
        newest = self._location.metadata(node) or {}
        array = open_document(self._location, node, _document(commit, newest))
        return LazyArray(InStore(f"{self._device}/{self._signal}/{name}", lambda: array)).loaded()

    def _committed(self) -> DeviceCommit:
        commit = read_commit(self._location, self._device)
        if commit is None or self._signal not in commit.signals:
            raise StoreError(f"{self._location}: {self._device}/{self._signal} is gone")
        return commit


def _document(commit: ArrayCommit, newest: dict[str, Any]) -> dict[str, Any]:
    """The array's `zarr.json` as of the commit, whatever the newest one says by now."""
    dtype = dtype_from_json(commit.dtype)
    blosc = [c["configuration"] for c in newest.get("codecs", ()) if c["name"] == "blosc"]
    codec = ChunkCodec(dtype, *((blosc[0]["cname"], blosc[0]["clevel"]) if blosc else ("none", 0)))
    dims = newest.get("dimension_names") or []
    return array_json(
        commit.shape,
        dtype,
        chunk_grid=tuple(max(size, 1) for size in commit.shape),
        codecs=codec.zarr_json(),
        generation=commit.generation,
        dimension_names=[*dims, *[""] * len(commit.shape)][: len(commit.shape)],
        attributes=newest.get("attributes", {}),
    )

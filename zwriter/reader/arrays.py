"""The arrays of a signal, as far as a commit makes them official."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import zarr
import zarr.errors
from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import StorePath, WrapperStore

from zwriter.errors import StoreError
from zwriter.reader.commits import SignalCommit
from zwriter.reader.continued import Continued, FilledLater, Parts
from zwriter.reader.lazy import InStore, LazyArray, Source
from zwriter.reader.location import Location
from zwriter.reader.pieces import DevicePieces
from zwriter.store.array_state import dtype_from_json
from zwriter.store.layout import DEVICES
from zwriter.store.shard_index import MISSING, index_bytes, index_nbytes, parse_index
from zwriter.store.zarr_json import stored_shape

_NOWHERE = 2**62


@dataclass(frozen=True, slots=True)
class Shards:
    """How an array is cut: it has so many chunks, and so many are in a shard."""

    chunks: int
    per_shard: int

    @classmethod
    def of(cls, document: dict[str, Any]) -> Shards | None:
        """None if it has no shards of zwriter's."""
        codec = document["codecs"][0]
        if codec["name"] != "sharding_indexed" or not document["shape"]:
            return None
        if codec["configuration"]["index_location"] != "start":
            return None
        rows = codec["configuration"]["chunk_shape"][0]
        each = document["chunk_grid"]["configuration"]["chunk_shape"][0]
        return cls(-(-document["shape"][0] // rows), each // rows)

    def told(self, key: str, stored: bytes) -> bytes:
        """The index of the shard `key`, with places of chunks that should be there and are not."""
        number = int(re.split(r"[/.]", key.removeprefix("c"))[key.startswith("c")])
        index = parse_index(stored, self.per_shard)
        due = index[: max(self.chunks - number * self.per_shard, 0)]
        due[due[:, 0] == MISSING] = _NOWHERE, 1
        return index_bytes(index)


class NoHoles(WrapperStore[Store]):
    """A store of the array `node` that tells when a chunk is not there, or cut off: zarr-python
    would give fill values for it. It is cut off where its shard became shorter since its index was
    read."""

    # newer versions of zarr-python would pass by `get`, and ask the store that is wrapped
    _supports_sync_io = False
    get_ranges: Any = getattr(Store, "get_ranges", None)

    def __init__(
        self, store: Store, node: str, shards: Shards | None, hole_allowed: Callable[[], bool]
    ) -> None:
        super().__init__(store)
        self._node, self._shards, self._hole_allowed = node, shards, hole_allowed

    def _with_store(self, store: Store) -> NoHoles:
        return NoHoles(store, self._node, self._shards, self._hole_allowed)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        first, end = 0, 0
        if isinstance(byte_range, RangeByteRequest):
            first, end = byte_range.start, byte_range.end
        if first == _NOWHERE:
            raise StoreError(f"{key} lacks a chunk")
        found = await self._store.get(key, prototype, byte_range)
        if found is None and not self._hole_allowed():
            raise StoreError(f"{key} is missing")
        if found is None:
            return None
        if len(found) < end - first:
            raise StoreError(f"{key} is cut off, or was replaced while it was read")
        whole = byte_range is None and not key.endswith("/zarr.json")
        begins = whole or (end and not first)
        return self._told(self._shards, key, found) if begins and self._shards else found

    def _told(self, shards: Shards, key: str, found: Buffer) -> Buffer:
        length = index_nbytes(shards.per_shard)
        stored = found[:length].to_bytes()
        told = shards.told(key.removeprefix(f"{self._node}/"), stored)
        if told == stored or self._hole_allowed():
            return found
        return found.from_bytes(told + found[length:].to_bytes())


def open_array(
    location: Location, node: str, shape: tuple[int, ...] | None = None, *, holes: bool = False
) -> zarr.Array[Any]:
    """The array at `node`, clipped to `shape` (default: as it is).

    holes: rows that never came need no chunk (layout `slices`).
    Raises StoreError if the array is missing or has less than `shape`.
    """
    document = location.metadata(node)
    if document is None:
        raise StoreError(f"{location}/{node}: the array is missing")
    if shape is not None:
        there = tuple(document["shape"])
        if len(there) != len(shape) or any(n < m for n, m in zip(there, shape, strict=True)):
            raise StoreError(f"{location}/{node}: shape {there} where {shape} is committed")
        document = document | {"shape": list(shape)}
    keys = document.get("chunk_key_encoding")

    def hole_allowed() -> bool:
        return holes and (location.metadata(node) or {}).get("chunk_key_encoding") == keys

    try:
        holes_told = NoHoles(location.store, node, Shards.of(document), hole_allowed)
        store = StorePath(holes_told, node)
        with warnings.catch_warnings():  # of record dtypes, which have no final specification yet
            warnings.simplefilter("ignore", zarr.errors.UnstableSpecificationWarning)
            return zarr.Array.from_dict(store, document)
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise StoreError(f"{location}/{node}/zarr.json is damaged: {error}") from None


class StoredArrays(Mapping[str, LazyArray]):
    """A signal's arrays by name, each opened when it is first asked for.

    `slices` rows are filled in place, so what is on disk may be ahead of the commit: while the scan
    is live their `length` is read before their `value`, and is never more than what is there.
    pieces: what the device's commit names.
    """

    def __init__(
        self,
        location: Location,
        device: str,
        signal: str,
        commit: SignalCommit,
        pieces: DevicePieces,
        *,
        live: bool,
    ) -> None:
        self._location, self._commit, self._pieces = location, commit, pieces
        self._signal, self._name = signal, f"{device}/{signal}"
        self._node = f"{DEVICES}/{self._name}"
        self._read_first = "length" if live and commit.layout == "slices" else ""
        self._opened: dict[str, LazyArray] = {}

    def __getitem__(self, name: str) -> LazyArray:
        if name not in self._commit.arrays:
            raise KeyError(name)
        if name != self._read_first and self._read_first in self._commit.arrays:
            self[self._read_first]
        if name not in self._opened:
            array = LazyArray(self._source(name))
            self._opened[name] = array.loaded() if name == self._read_first else array
        return self._opened[name]

    def _source(self, name: str) -> Source:
        committed = self._commit.arrays[name]
        whole = partial(self._stored, name, committed.shape)
        if committed.in_shards is None:
            return whole()
        rows, *row_shape = committed.shape
        if self._commit.layout == "slices" and name != "timestamp":
            kind: type[Continued | FilledLater] = FilledLater
        elif committed.in_shards == rows:
            return whole()
        else:
            kind = Continued
        stored = self._stored(name, (committed.in_shards, *row_shape))
        return kind(Parts(self._signal, name, stored, rows, whole, self._pieces))

    def _stored(self, name: str, shape: tuple[int, ...]) -> InStore:
        """The array as far as it is in shards."""
        return InStore(
            f"{self._name}/{name}", lambda: self._open(name, shape), self._location.at_once
        )

    def _open(self, name: str, shape: tuple[int, ...]) -> zarr.Array[Any]:
        committed = self._commit.arrays[name]
        shape = stored_shape(shape, dtype_from_json(committed.dtype))
        holes = self._commit.layout == "slices"
        return open_array(self._location, f"{self._node}/{name}", shape, holes=holes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._commit.arrays)

    def __len__(self) -> int:
        return len(self._commit.arrays)

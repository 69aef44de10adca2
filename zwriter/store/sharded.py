"""Zarr arrays that grow along axis 0, in shard files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import fill_value
from zwriter.failpoint import failpoint
from zwriter.store.array_state import (
    chunk_bound,
    chunks_in_shard,
    dtype_json,
    free_before,
    open_shards,
    shard_chunks,
)
from zwriter.store.codecs import ChunkCodec
from zwriter.store.disk import make_folder, sync_file, sync_names
from zwriter.store.document import Document
from zwriter.store.encoder import Encoder
from zwriter.store.hdf5_header import hdf5_metadata
from zwriter.store.sealed import read_sealed_chunk, trim
from zwriter.store.shard import LARGE, ShardFile
from zwriter.store.shard_index import MAX_CHUNKS, MOST_FREE
from zwriter.store.side_by_side import OnTheirWay
from zwriter.store.zarr_json import (
    GrowingArray,
    array_json,
    chunk_files,
    chunk_key,
    sharding,
    stored_shape,
)

Array = NDArray[Any]


class ShardedArray:
    """What growing arrays have in common: chunks in shards, a document, a state for the commit."""

    def __init__(
        self,
        path: Path,
        codec: ChunkCodec,
        row_shape: tuple[int, ...],
        chunk_rows: int,
        shard_bytes: int | None,
    ) -> None:
        self.path = path
        self.codec = codec
        self._encoder = Encoder(codec)
        self.row_shape = row_shape
        self.generation = 0
        self.rows = 0
        self._free = MOST_FREE  # bytes before a chunk; none in what an earlier version has begun
        self._shard_bytes = shard_bytes
        self._cut_in_chunks(chunk_rows)
        self.shown: tuple[Any, ...] = ()  # what zarr.json says: rows, dtype, dimensions
        self._zarr_json = path / "zarr.json"
        self._document = Document(self._zarr_json)
        self._text: GrowingArray | None = None
        self._shards: dict[int, ShardFile] = {}
        self._made: set[int] = set()  # shards whose file is ours; any other is a leftover
        self._sealed: dict[int, int] = {}  # number -> checksum of its index
        self._to_sync: list[ShardFile] = []  # sealed ones that may have to be synced
        self._on_their_way = OnTheirWay()
        self._document_synced: bool | None = None  # None: there never was one

    def _cut_in_chunks(self, chunk_rows: int) -> None:
        """Set how many rows a chunk has, and how many chunks a shard."""
        self.chunk_rows, self.shard_chunks = chunk_rows, MAX_CHUNKS
        if self._shard_bytes and chunk_rows:
            fit = self._shard_bytes // (chunk_rows * self.row_bytes)
            self.shard_chunks = min(max(fit, 1), MAX_CHUNKS)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.codec.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, *self.row_shape)

    @property
    def row_bytes(self) -> int:
        return max(math.prod(self.row_shape) * self.dtype.itemsize, 1)

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        return (self.chunk_rows, *self.row_shape)

    @property
    def _chunk_bound(self) -> int:
        return chunk_bound(self.dtype, self.chunk_shape, self._free)

    def _shard(self, number: int) -> ShardFile:
        if number not in self._shards:
            self._shards[number] = ShardFile(
                self._shard_path(number),
                self.shard_chunks,
                self._chunk_bound,
                create=number not in self._made,
                aligns=self._free > 0,
            )
            self._made.add(number)
        return self._shards[number]

    def _shard_path(self, number: int) -> Path:
        return self.path / chunk_key(
            self.generation, len(stored_shape(self.shape, self.dtype)), number
        )

    def _put(self, chunk: int, data: Array, *, whole: bool) -> bool:
        """Write a chunk, now or, at the latest, when all is published; whether it was now. If not,
        `data` must not change any more until it comes back to `_written`.
        """
        number, inside = divmod(chunk, self.shard_chunks)
        shard = self._shard(number)
        self._sealed.pop(number, None)  # by a writer before us, which did not come to its end
        if data.nbytes < LARGE:
            shard.put(inside, self._encoder.encode(data, whole=whole), whole=whole)
            return True
        while self._on_their_way.many:
            self._receive()
        self._on_their_way.send(self._encoder, shard, inside, data, whole=whole)
        return False

    def _receive(self) -> None:
        """Wait for the oldest chunk that is on its way."""
        data = self._on_their_way.next()
        if not self._on_their_way.has(data):
            self._written(data)

    def _written(self, data: Array) -> None:
        """What was put is written, and may change again."""

    def write_all(self) -> None:
        """Return when every chunk that was put is written."""
        while self._on_their_way:
            self._receive()

    def read_chunk(self, chunk: int) -> Array:
        """A chunk as it is stored, all fill value where there is none."""
        self.write_all()
        shard, number = divmod(chunk, self.shard_chunks)
        if shard in self._sealed:
            stored = read_sealed_chunk(self._shard_path(shard), self.shard_chunks, number)
        else:
            stored = self._shard(shard).read(number)
        if stored is None:
            return np.full(self.chunk_shape, fill_value(self.dtype), self.dtype)
        return self.codec.decode(stored, self.chunk_shape)

    def publish(self, dimension_names: list[str], attributes: dict[str, Any]) -> None:
        """Make what was put visible to readers: indices first, then the document."""
        self.write_all()
        self._close_sealed()
        for shard in self._shards.values():
            shard.publish()
        shown = (self.rows, self.dtype, self.generation, self.chunk_rows, dimension_names)
        if shown == self.shown:
            return
        if not self.shown:
            make_folder(self.path)
        if self._text is None or shown[1:] != self.shown[1:]:
            self._text = self._described(dimension_names, attributes)
        self._document.replace(self._text.text(self.rows), self._text.word)
        self._document_synced = None if self._document_synced is None else False
        self.shown = shown
        self._seal_full()

    def _described(self, dimension_names: list[str], attributes: dict[str, Any]) -> GrowingArray:
        chunk = (max(self.chunk_rows, 1), *self.row_shape)  # no rows yet, no chunk chosen
        document = array_json(
            self.shape,
            self.dtype,
            chunk_grid=(chunk[0] * self.shard_chunks, *self.row_shape),
            codecs=sharding(stored_shape(chunk, self.dtype), self.codec.zarr_json()),
            generation=self.generation,
            dimension_names=dimension_names,
            attributes=attributes,
        )
        return GrowingArray(document)

    def _seal_full(self) -> None:
        """Shards that are behind us are complete: give them their HDF5 side and close them."""
        for number in sorted(self._shards):
            done = (number + 1) * self.shard_chunks * self.chunk_rows <= self.rows
            if done and self._shards[number].full:
                self._seal(number)

    def _seal(self, number: int) -> None:
        shard = self._shard(number)
        shard.compact()
        failpoint("seal.compacted")
        first = number * self.shard_chunks * self.chunk_rows
        rows = min(self.rows - first, self.shard_chunks * self.chunk_rows)
        metadata = hdf5_metadata(
            self.codec, (rows, *self.row_shape), self.chunk_shape, shard.index, shard.end
        )
        shard.write_metadata(metadata)
        self._to_sync.append(shard)
        self._sealed[number] = shard.checksum
        del self._shards[number]
        failpoint("seal.done")

    def seal(self) -> None:
        """Make every shard an HDF5 file as well. Nothing may be written afterwards."""
        for number in range(self.shard_count):
            if number not in self._sealed:
                self._seal(number)

    @property
    def shard_count(self) -> int:
        return -(-self.rows // (self.chunk_rows * self.shard_chunks)) if self.rows else 0

    def trim(self) -> None:
        """Cut what sealing left over, remove older generations, make the rest read-only."""
        keep = {self._shard_path(number) for number in range(self.shard_count)}
        for path in keep:
            trim(path, self.shard_chunks)
        for path in set(chunk_files(self.path)) - keep:
            path.unlink()

    @property
    def just_sealed(self) -> bool:
        """Whether a shard was sealed since the last `publish`."""
        return bool(self._to_sync)

    def sync(self, top: Path) -> None:
        """Return when all that was published is on the disk, with the names in all folders up to
        `top`.
        """
        for shard in (*self._shards.values(), *self._to_sync):
            shard.sync(top)
        if not self._document_synced and self._zarr_json.exists():
            sync_file(self._zarr_json)
            sync_names(self._zarr_json, top if self._document_synced is None else self.path)
            self._document_synced = True

    def close(self) -> None:
        self._on_their_way.forget()
        self._close_sealed()
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    def _close_sealed(self) -> None:
        for shard in self._to_sync:
            if shard not in self._shards.values():  # an interrupt came before it was done with
                shard.close()
        self._to_sync.clear()

    def state(self) -> dict[str, Any]:
        """What a commit says of this array: enough to come back to this moment."""
        places = []
        for number, shard in self._shards.items():
            places += [[number, chunk, *at] for chunk, at in shard.partial().items()]
        return {
            "shape": list(self.shape),
            "dtype": dtype_json(self.dtype),
            "generation": self.generation,
            "chunk_rows": self.chunk_rows,
            "shard_chunks": self.shard_chunks,
            "codec": [self.codec.name, self.codec.level],
            "free": self._free,
            "open": places,
            "ends": [[number, *shard.whole] for number, shard in sorted(self._shards.items())],
            "sealed": [[number, checksum] for number, checksum in sorted(self._sealed.items())],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to the moment of `state`: what was written after it is no longer pointed to."""
        self.rows, self._free = state["shape"][0], free_before(state)
        self.chunk_rows, self.shard_chunks = state["chunk_rows"], shard_chunks(state)
        self.generation = state["generation"]
        self._sealed = dict(state["sealed"])
        self._made = {number for number, *_ in (*state["ends"], *state["sealed"])}
        for shard in open_shards(state):
            here = chunks_in_shard(shard.number, state)
            self._shard(shard.number).restore(here, shard.partial, shard.end)

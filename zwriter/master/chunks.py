"""The chunks of a stored array as they are: encoded with what HDF5 has an equal filter for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError
from zwriter.master.tree import StoredArray
from zwriter.objects import AnyPath, each
from zwriter.store.codecs import CRC_BYTES, HDF5_BLOSC, crc_of
from zwriter.store.shard_index import MISSING, index_nbytes, parse_index
from zwriter.store.zarr_json import chunk_key, generation_of

_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
_COMPRESSORS = {"blosclz": 0, "lz4": 1, "lz4hc": 2, "zlib": 4, "zstd": 5}


class Readable(Protocol):
    """What is needed of a file that is open."""

    def seek(self, offset: int, /) -> object: ...

    def read(self, nbytes: int = -1, /) -> bytes: ...


Opener = Callable[[AnyPath], AbstractContextManager[Readable]]


@dataclass(frozen=True, slots=True)
class StoredChunks:
    """A stored array's chunks, which split axis 0 only.

    files: in order, shards or single chunks; where there may be holes, they need not exist;
    chunk: the shape of one; per_shard: how many lie in a file, None where each has its own;
    blosc: the codec's configuration in zarr.json, None where chunks are not compressed.
    """

    source: StoredArray
    files: list[AnyPath]
    chunk: tuple[int, ...]
    per_shard: int | None
    blosc: dict[str, Any] | None

    @classmethod
    def of(cls, source: StoredArray) -> StoredChunks | None:
        """None where HDF5 has no equal for the encoding (texts) or nothing is chunked (scalars)."""
        document = json.loads((source.folder / "zarr.json").read_bytes())
        grid = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
        codecs, chunk, per_shard = document["codecs"], grid, None
        if codecs[0]["name"] == "sharding_indexed":
            sharding = codecs[0]["configuration"]
            if sharding["index_location"] != "start":
                return None
            codecs, chunk = sharding["codecs"], tuple(sharding["chunk_shape"])
            per_shard = grid[0] // chunk[0]
        first, *middle, last = codecs
        little = first.get("configuration", {}).get("endian", "little") == "little"
        if first["name"] != "bytes" or not little or last["name"] != "crc32c":
            return None
        if [codec["name"] for codec in middle] not in ([], ["blosc"]):
            return None
        shape = source.array.shape
        chunk = chunk[: len(shape)]  # records are stored with an axis more, for their bytes
        if not shape or 0 in shape or chunk[1:] != shape[1:]:
            return None
        keys = [
            chunk_key(generation_of(document), len(document["shape"]), number)
            for number in range(-(-shape[0] // grid[0]))
        ]
        blosc = middle[0]["configuration"] if middle else None
        return cls(source, [source.folder / key for key in keys], chunk, per_shard, blosc)

    @property
    def chunk_bytes(self) -> int:
        return math.prod(self.chunk) * self.source.array.dtype.itemsize

    @property
    def hdf5_filter(self) -> dict[str, Any]:
        """Arguments of h5py's create_dataset that describe the same bytes."""
        if self.blosc is None:
            return {}
        b = self.blosc
        shuffle, code = _SHUFFLES.index(b["shuffle"]), _COMPRESSORS[b["cname"]]
        options = (2, 2, b["typesize"], self.chunk_bytes, b["clevel"], shuffle, code)
        return {"compression": HDF5_BLOSC, "compression_opts": options}

    def read(self, open_file: Opener) -> Iterator[tuple[int, bytes]]:
        """Each chunk that is there: its number along axis 0, its bytes without checksum. Files are
        opened one after the other, and read forwards.

        Raises StoreError for one that is damaged, and for one that is missing unless holes may be.
        """
        for path, numbers in self._places():
            try:
                opened = open_file(path)
            except FileNotFoundError as error:
                if self.source.holes:
                    continue
                raise StoreError(f"{path} is missing; run `zwriter verify`") from error
            try:
                with opened as file:
                    yield from self._stored(file, numbers)
            except (OSError, ValueError) as error:
                raise StoreError(f"{path}: {error}; run `zwriter verify`") from error

    def complete(self) -> bool:
        """No chunk is missing."""
        return not self.source.holes or all(each(self.source.folder, self._full, self._places()))

    def _full(self, place: tuple[AnyPath, range]) -> bool:
        path, numbers = place
        try:
            with path.open("rb") as file:
                return self.per_shard is None or bool(
                    np.all(self._index(file, self.per_shard)[: len(numbers), 0] != MISSING)
                )
        except FileNotFoundError:
            return False

    def _places(self) -> Iterator[tuple[AnyPath, range]]:
        """Each file and the chunks that lie in it."""
        count, step = -(-self.source.array.shape[0] // self.chunk[0]), self.per_shard or 1
        for shard, path in enumerate(self.files):
            yield path, range(shard * step, min((shard + 1) * step, count))

    def _stored(self, file: Readable, numbers: range) -> Iterator[tuple[int, bytes]]:
        if self.per_shard is None:
            stored = file.read()
            yield numbers[0], self._checked(numbers[0], stored[:-CRC_BYTES], stored[-CRC_BYTES:])
            return
        index = self._index(file, self.per_shard)[: len(numbers)]
        lost = np.flatnonzero(index[:, 0] == MISSING)
        if len(lost) and not self.source.holes:
            raise ValueError(f"chunk {numbers[lost[0]]} is missing")
        for i in np.argsort(index[:, 0])[: len(index) - len(lost)]:
            file.seek(int(index[i, 0]))
            data, crc = file.read(int(index[i, 1]) - CRC_BYTES), file.read(CRC_BYTES)
            yield numbers[i], self._checked(numbers[i], data, crc)

    @staticmethod
    def _index(file: Readable, capacity: int) -> NDArray[np.uint64]:
        return parse_index(file.read(index_nbytes(capacity)), capacity)

    def _checked(self, number: int, data: bytes, crc: bytes) -> bytes:
        if crc_of(data) != crc:
            raise ValueError(f"chunk {number} is damaged")
        # a Blosc frame says at byte 4 how long it is decoded
        decoded = len(data) if self.blosc is None else int.from_bytes(data[4:8], "little")
        if decoded != self.chunk_bytes:
            raise ValueError(f"chunk {number} has {decoded} bytes instead of {self.chunk_bytes}")
        return data

"""The chunks of a stored array as they are: encoded with what HDF5 has an equal filter for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError
from zwriter.master.tree import StoredArray
from zwriter.objects import AnyPath
from zwriter.store.codecs import CRC_BYTES, HDF5_BLOSC
from zwriter.store.shard import MISSING, index_nbytes, parse_index
from zwriter.store.zarr_json import chunk_key, generation_of

_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
_COMPRESSORS = {"blosclz": 0, "lz4": 1, "lz4hc": 2, "zlib": 4, "zstd": 5}


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

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Each chunk that is there: its number along axis 0, its bytes without checksum.

        Raises StoreError for one that is damaged, and for one that is missing unless holes may be.
        """
        for path, numbers in self._places():
            if self.source.holes and not path.exists():
                continue
            try:
                yield from self._stored(path, numbers)
            except (OSError, ValueError) as error:
                raise StoreError(f"{path}: {error}; run `zwriter verify`") from error

    def complete(self) -> bool:
        """No chunk is missing."""
        if not self.source.holes:
            return True
        for path, numbers in self._places():
            if not path.exists():
                return False
            if self.per_shard is not None:
                with path.open("rb") as file:
                    index = self._index(file, self.per_shard)
                if bool(np.any(index[: len(numbers), 0] == MISSING)):
                    return False
        return True

    def _places(self) -> Iterator[tuple[AnyPath, range]]:
        """Each file and the chunks that lie in it."""
        count, step = -(-self.source.array.shape[0] // self.chunk[0]), self.per_shard or 1
        for shard, path in enumerate(self.files):
            yield path, range(shard * step, min((shard + 1) * step, count))

    def _stored(self, path: AnyPath, numbers: range) -> Iterator[tuple[int, bytes]]:
        with path.open("rb", buffering=0) as file:
            if self.per_shard is None:
                yield numbers[0], self._checked(numbers[0], file.read())
                return
            index = self._index(file, self.per_shard)
            for number, (offset, nbytes) in zip(numbers, index, strict=False):
                if offset != MISSING:
                    file.seek(int(offset))
                    yield number, self._checked(number, file.read(int(nbytes)))
                elif not self.source.holes:
                    raise ValueError(f"chunk {number} is missing")

    @staticmethod
    def _index(file: IO[bytes], capacity: int) -> NDArray[np.uint64]:
        return parse_index(file.read(index_nbytes(capacity)), capacity)

    def _checked(self, number: int, stored: bytes) -> bytes:
        data, crc = stored[:-CRC_BYTES], stored[-CRC_BYTES:]
        if google_crc32c.value(data).to_bytes(CRC_BYTES, "little") != crc:
            raise ValueError(f"chunk {number} is damaged")
        # a Blosc frame says at byte 4 how long it is decoded
        decoded = len(data) if self.blosc is None else int.from_bytes(data[4:8], "little")
        if decoded != self.chunk_bytes:
            raise ValueError(f"chunk {number} has {decoded} bytes instead of {self.chunk_bytes}")
        return data

"""How the bytes of a chunk are made: the same bytes for Zarr's codecs and for HDF5's filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from awscrt.checksums import crc32c
from numcodecs import blosc
from numcodecs.vlen import VLenUTF8
from numpy.typing import NDArray

from zwriter.settings import SignalSettings

blosc.use_threads = False  # our own threads work side by side; Blosc's would wait for each other
BLOSC_OVERHEAD = 16
BLOSC_COPIED = 2  # a flag in byte 2: it was not made smaller
CRC_BYTES = 4
HDF5_BLOSC = 32001
_BLOSC_CODE = {"lz4": 1, "zlib": 4, "zstd": 5}


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """Encoding of one array's chunks. `dtype` is the array's, `name` a codec of the settings."""

    dtype: np.dtype[Any]
    name: str
    level: int

    @property
    def shuffle(self) -> int:
        """0 none, 1 byte (floats, records), 2 bit (integers): what compresses such data best."""
        if self.dtype.kind in "biu":
            return 2
        return 1 if 1 < self.dtype.itemsize < 256 and self.dtype.kind != "T" else 0

    @property
    def typesize(self) -> int:
        return self.dtype.itemsize if self.dtype.itemsize < 256 and self.dtype.kind != "T" else 1

    def zarr_json(self) -> list[dict[str, Any]]:
        """The inner codecs, as they stand in `zarr.json`."""
        if self.dtype.kind == "T":
            first: dict[str, Any] = {"name": "vlen-utf8"}
        elif self.dtype.itemsize == 1 or self.dtype.kind == "V":
            first = {"name": "bytes"}
        else:
            first = {"name": "bytes", "configuration": {"endian": "little"}}
        codecs = [first]
        if self.name != "none":
            configuration = {
                "typesize": self.typesize,
                "cname": self.name,
                "clevel": self.level,
                "shuffle": ("noshuffle", "shuffle", "bitshuffle")[self.shuffle],
                "blocksize": 0,
            }
            codecs.append({"name": "blosc", "configuration": configuration})
        return [*codecs, {"name": "crc32c"}]

    def hdf5_filter(self, chunk_nbytes: int) -> dict[str, Any]:
        """Arguments of h5py's create_dataset for the same bytes, without the crc32c."""
        if self.name == "none":  # declared, and skipped in every chunk: see hdf5_header
            return {"compression": "gzip", "compression_opts": 1}
        code = _BLOSC_CODE[self.name]
        options = (2, 2, self.typesize, chunk_nbytes, self.level, self.shuffle, code)
        return {"compression": HDF5_BLOSC, "compression_opts": options}

    def encode(self, chunk: NDArray[Any]) -> tuple[Any, bytes]:
        """The bytes of a whole, C-contiguous chunk, and their crc32c: to be written one after the
        other.
        """
        if self.dtype.kind == "T":
            data: Any = bytes(VLenUTF8().encode(chunk.ravel().astype(object)))
        else:
            data = chunk.reshape(-1).view(np.uint8)
        if self.name != "none":
            data = blosc.compress(
                data, self.name.encode(), self.level, self.shuffle, 0, self.typesize
            )
        return data, crc_of(data)

    def decode(self, stored: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
        """The chunk of `shape` that `encode` was given. Raises ValueError when the checksum is
        wrong.
        """
        if not intact(stored):
            raise ValueError("wrong checksum")
        payload = stored[:-CRC_BYTES]
        data = payload if self.name == "none" else blosc.decompress(payload)
        if self.dtype.kind == "T":
            return np.asarray(VLenUTF8().decode(data), self.dtype).reshape(shape)
        return np.frombuffer(data, self.dtype).reshape(shape)


def crc_of(data: bytes | memoryview | NDArray[np.uint8], behind: bytes = b"") -> bytes:
    """The crc32c of bytes, which stand `behind` others, as it stands behind them all."""
    crc: int = crc32c(data, crc32c(behind))
    return crc.to_bytes(CRC_BYTES, "little")


def with_crc(data: bytes) -> bytes:
    """Bytes, and their crc32c behind them: what is `intact`."""
    return data + crc_of(data)


def intact(stored: bytes, crc: int | None = None) -> bool:
    """Whether the stored bytes of a chunk have the crc32c that they end with, and it is `crc`, if
    that is known."""
    found = stored[-CRC_BYTES:]
    known = crc is None or found == crc.to_bytes(CRC_BYTES, "little")
    return known and found == crc_of(memoryview(stored)[:-CRC_BYTES])


def codec_for(dtype: np.dtype[Any], settings: SignalSettings) -> ChunkCodec:
    """The codec that the settings ask for."""
    return ChunkCodec(dtype, settings.codec, settings.level)

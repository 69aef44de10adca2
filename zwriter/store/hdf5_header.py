"""The HDF5 side of a shard file: metadata that points at the chunks which are there already.

h5py makes a tiny file in memory with the same dtype, shape, chunks and filter and one dummy chunk;
in its image only the addresses are changed: the table of chunks (a "fixed array"), the base address
and the end of file, each under its checksum. So HDF5 itself decides how types and filters are
described, no chunk goes through HDF5, and a crash can leave nothing half-written that HDF5 would
have to repair. Source: HDF5 File Format Specification 3.0, sections II.A (superblock) and VII.C
(fixed array index).
"""

from __future__ import annotations

import io
import math
import struct
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the Blosc filter)
import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import fill_value
from zwriter.errors import StoreError
from zwriter.store.codecs import ChunkCodec
from zwriter.store.shard_index import METADATA_BYTES, USER_BLOCK, chunk_table

_UNDEFINED = b"\xff" * 8


def hdf5_metadata(
    codec: ChunkCodec,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    index: NDArray[np.uint64],
    end: int,
) -> bytes:
    """What stands at USER_BLOCK of a shard file whose dataset `/data` has `shape`; nothing if its
    values are strings.

    index: of the shard, whose chunks end with their checksums; end: the size of the file. Raises
    StoreError when the metadata needs more room than a shard file has for it.
    """
    dtype, chunks = codec.dtype, chunk_table(index)
    if dtype.kind == "T":
        return b""
    filters = codec.hdf5_filter(math.prod(chunk) * dtype.itemsize)
    # What is not encoded only declares a filter: without one HDF5 keeps no sizes of chunks.
    mask = struct.pack("<I", 1 if codec.name == "none" else 0)
    image = _template(dtype, shape, chunk, len(index), filters)
    if len(image) > METADATA_BYTES:
        raise StoreError(f"HDF5 metadata of {len(image)} bytes for {dtype}: too long for a shard")
    header = image.index(b"FAHD")
    table = image.index(b"FADB")
    entry_bytes, entries = image[header + 6], struct.unpack_from("<Q", image, header + 8)[0]
    at = table + 14
    for number in range(entries):
        offset, nbytes = chunks.get(number, (0, 0))
        address = struct.pack("<Q", offset - USER_BLOCK) if nbytes else _UNDEFINED
        entry = address + nbytes.to_bytes(entry_bytes - 12, "little") + mask
        image[at : at + entry_bytes] = entry
        at += entry_bytes
    struct.pack_into("<I", image, at, lookup3(image[table:at]))
    struct.pack_into("<Q", image, 12, USER_BLOCK)
    struct.pack_into("<Q", image, 28, end)
    struct.pack_into("<I", image, 44, lookup3(image[:44]))
    return bytes(image)


def _template(
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    capacity: int,
    filters: dict[str, Any],
) -> bytearray:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        # one chunk more than the shard holds: a single chunk would be described in another way
        maxshape = ((capacity + 1) * chunk[0], *shape[1:])
        data = file.create_dataset(
            "data",
            shape,
            dtype,
            maxshape=maxshape,
            chunks=chunk,
            fillvalue=fill_value(dtype) if dtype.kind in "fc" else None,  # zero, where None
            **filters,
        )
        data.id.write_direct_chunk((0,) * len(chunk), b"\0")
    return bytearray(buffer.getvalue())


def lookup3(data: bytes | bytearray) -> int:
    """Bob Jenkins' lookup3 hash (public domain, 2006), the checksum of HDF5 metadata."""
    words = struct.unpack(f"<{max(-(-len(data) // 12), 1) * 3}I", data + bytes(_padding(len(data))))
    a = b = c = _u32(0xDEADBEEF + len(data))
    if not data:
        return c
    for i in range(0, len(words) - 3, 3):
        a, b, c = _mix(_u32(a + words[i]), _u32(b + words[i + 1]), _u32(c + words[i + 2]))
    return _final(_u32(a + words[-3]), _u32(b + words[-2]), _u32(c + words[-1]))


def _padding(length: int) -> int:
    return -length % 12 if length else 12


def _u32(value: int) -> int:
    return value & 0xFFFFFFFF


def _rot(value: int, bits: int) -> int:
    return _u32(value << bits) | (value >> (32 - bits))


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a, c = _u32(a - c) ^ _rot(c, 4), _u32(c + b)
    b, a = _u32(b - a) ^ _rot(a, 6), _u32(a + c)
    c, b = _u32(c - b) ^ _rot(b, 8), _u32(b + a)
    a, c = _u32(a - c) ^ _rot(c, 16), _u32(c + b)
    b, a = _u32(b - a) ^ _rot(a, 19), _u32(a + c)
    c, b = _u32(c - b) ^ _rot(b, 4), _u32(b + a)
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        # each step takes the next of (c, a, b) from the one before it, in turn
        c = _u32((c ^ b) - _rot(b, bits))
        a, b, c = b, c, a
    return b

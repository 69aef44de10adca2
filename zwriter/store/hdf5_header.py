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
from numcodecs.jenkins import jenkins_lookup3
from numpy.typing import NDArray

from zwriter.assemble import fill_value
from zwriter.errors import StoreError
from zwriter.store.codecs import CRC_BYTES, ChunkCodec
from zwriter.store.shard_index import METADATA_BYTES, MISSING, USER_BLOCK

_UNDEFINED = 0xFF  # each byte of an address


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
    dtype = codec.dtype
    if dtype.kind == "T":
        return b""
    filters = codec.hdf5_filter(math.prod(chunk) * dtype.itemsize)
    image = _template(dtype, shape, chunk, len(index), filters)
    if len(image) > METADATA_BYTES:
        raise StoreError(f"HDF5 metadata of {len(image)} bytes for {dtype}: too long for a shard")
    header = image.index(b"FAHD")
    table = image.index(b"FADB")
    entry_bytes, entries = image[header + 6], struct.unpack_from("<Q", image, header + 8)[0]
    first, end_of_table = table + 14, table + 14 + entries * entry_bytes
    # What is not encoded only declares a filter: without one HDF5 keeps no sizes of chunks.
    skipped = int(codec.name == "none")
    image[first:end_of_table] = _entries(index, entries, entry_bytes, skipped)
    struct.pack_into("<I", image, end_of_table, jenkins_lookup3(image[table:end_of_table]))
    struct.pack_into("<Q", image, 12, USER_BLOCK)
    struct.pack_into("<Q", image, 28, end)
    struct.pack_into("<I", image, 44, jenkins_lookup3(image[:44]))
    return bytes(image)


def _entries(index: NDArray[np.uint64], count: int, nbytes: int, skipped: int) -> bytes:
    """The table of chunks, `nbytes` for each of `count`: its address, its size without the
    checksum, which filters were skipped."""
    table = np.zeros((count, nbytes), np.uint8)
    address, size, mask = np.split(table, (8, nbytes - 4), axis=1)
    present = np.flatnonzero(index[:, 0] != MISSING)
    address[:] = _UNDEFINED
    address[present] = _bytes_of(index[present, 0] - np.uint64(USER_BLOCK))
    size[present] = _bytes_of(index[present, 1] - np.uint64(CRC_BYTES))[:, : size.shape[1]]
    mask[:, 0] = skipped
    return table.tobytes()


def _bytes_of(numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """(n,) -> (n, 8), the least significant first."""
    return numbers.astype("<u8")[:, np.newaxis].view(np.uint8)


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

"""The index of a shard file, where its chunks are, and what is at fixed places around it. See
docs/format.md.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from awscrt.checksums import crc32c
from numpy.typing import NDArray

from zwriter.store.codecs import CRC_BYTES, intact, with_crc

USER_BLOCK = 4096  # bytes: the index; HDF5 begins behind it
METADATA_BYTES = 12288  # at most, of the HDF5 side
MAX_CHUNKS = 255  # an index of one page: readers never see it torn
FIRST_CHUNK = USER_BLOCK + METADATA_BYTES
MISSING = np.uint64(2**64 - 1)
MOST_FREE = 79  # bytes before a chunk, at most
CACHE_LINE = 64  # bytes
_VERSIONS = 16  # bytes behind a chunk where, in a bucket, those begin that are not whole


def aligned(end: int, address: int) -> int:
    """Where a large chunk is to begin, behind one that ends at `end`, so that it is copied at full
    speed from `address`: where it lies alike in a cache line.
    """
    first = end + _VERSIONS
    return first + (address - first) % CACHE_LINE


def address_of(data: bytes | NDArray[Any]) -> int:
    """Where bytes, or values, lie in memory."""
    array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    return int(array.ctypes.data)


def index_at_commit(
    index: NDArray[np.uint64], chunks: int, partial: dict[int, tuple[int, int]], end: int
) -> NDArray[np.uint64]:
    """What an index was at a commit, given what it is now. See `ShardFile.restore`."""
    index = index.copy()
    index[chunks:] = MISSING
    index[index[:, 0] >= end] = MISSING
    for number, place in partial.items():
        index[number] = place
    return index


def checksum_of(index: NDArray[np.uint64], of_chunks: list[bytes]) -> int:
    """crc32c of the index and of the checksums that the chunks end with: small chunks that do not
    get smaller by compression lie at the same places in every shard.
    """
    return int(crc32c(b"".join((index.tobytes(), *of_chunks))))


def end_of(index: NDArray[np.uint64]) -> int:
    present = index[index[:, 0] != MISSING]
    return int(present.sum(axis=1).max(initial=FIRST_CHUNK))


def index_bytes(index: NDArray[np.uint64]) -> bytes:
    """An index as it stands in a shard file, with its checksum."""
    return with_crc(index.tobytes())


def read_index(fd: int, capacity: int) -> NDArray[np.uint64]:
    """The index of a shard file, all missing if there is none. Raises ValueError if damaged."""
    return parse_index(os.pread(fd, index_nbytes(capacity), 0), capacity)


def index_nbytes(capacity: int) -> int:
    """The size of an index, with its checksum, at the beginning of a shard file."""
    return 16 * capacity + CRC_BYTES


def parse_index(data: bytes, capacity: int) -> NDArray[np.uint64]:
    """`read_index` of the bytes that stand there."""
    if not data:
        return np.full((capacity, 2), MISSING, np.uint64)
    if not intact(data):
        raise ValueError("damaged shard index")
    return np.frombuffer(data[:-CRC_BYTES], "<u8").reshape(capacity, 2).copy()

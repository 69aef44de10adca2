"""What a commit says of an array: where its chunks are, and how they are made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from zwriter.assemble.values import STRING
from zwriter.store.codecs import BLOSC_OVERHEAD, CRC_BYTES, ChunkCodec
from zwriter.store.shard_index import MAX_CHUNKS
from zwriter.store.zarr_json import chunk_key, stored_shape

STRING_CHUNK_BOUND = 16 * 1024 * 1024

Places = dict[int, tuple[int, int]]
"""Number of a chunk in its shard -> (offset, bytes)."""


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard that still grows. partial: the versions of chunks that are not whole; end: behind the
    last chunk that is; whole: how many are."""

    number: int
    partial: Places
    end: int
    whole: int


def open_shards(state: dict[str, Any]) -> Iterator[OpenShard]:
    """The shards that are not sealed."""
    partial: dict[int, Places] = {}
    for number, chunk, offset, nbytes in state["open"]:
        partial.setdefault(number, {})[chunk] = (offset, nbytes)
    for number, end, whole in state["ends"]:
        yield OpenShard(number, partial.get(number, {}), end, whole)


def codec_of(state: dict[str, Any]) -> ChunkCodec:
    """How the chunks of an array that grows are made."""
    return ChunkCodec(dtype_from_json(state["dtype"]), *state["codec"])


def shard_key(state: dict[str, Any], number: int) -> str:
    """Where a shard (or the chunk of an array without) lies, relative to its array, as the state of
    that in a commit says.
    """
    shape = stored_shape(tuple(state["shape"]), dtype_from_json(state["dtype"]))
    return chunk_key(state["generation"], len(shape), number)


def chunk_bound(dtype: np.dtype[Any], chunk_shape: tuple[int, ...], free: int) -> int:
    """What a chunk takes in a shard at most, in bytes, with as many as are free before it."""
    if dtype.kind == "T":
        return STRING_CHUNK_BOUND
    return room_for(math.prod(chunk_shape) * dtype.itemsize, free)


def room_for(nbytes: int, free: int) -> int:
    """The same of a chunk that is `nbytes` when it is decoded."""
    return free + nbytes + BLOSC_OVERHEAD + CRC_BYTES


def free_before(state: dict[str, Any]) -> int:
    """How many bytes may be free before a chunk, as the state of an array in a commit says."""
    free: int = state.get("free", 0)  # commits before there were any
    return free


def shard_chunks(state: dict[str, Any]) -> int:
    """How many chunks a shard has, as the state of an array in a commit says."""
    count: int = state.get("shard_chunks", MAX_CHUNKS)  # commits before it could be chosen
    return count


def chunks_in_shard(number: int, state: dict[str, Any]) -> int:
    """How many chunks of the shard `number` an array has in the state that a commit says."""
    chunks = -(-state["shape"][0] // state["chunk_rows"]) if state["chunk_rows"] else 0
    return min(max(chunks - number * shard_chunks(state), 0), shard_chunks(state))


def dtype_json(dtype: np.dtype[Any]) -> Any:
    """A dtype as the commit has it: numpy's string, or fields."""
    if dtype.kind == "V":
        return [list(field) for field in dtype.descr]
    return "string" if dtype.kind == "T" else dtype.str


def dtype_from_json(value: Any) -> np.dtype[Any]:
    """The dtype that `dtype_json` wrote."""
    if isinstance(value, list):
        return np.dtype([(name, kind) for name, kind in value])
    dtype: np.dtype[Any] = STRING if value == "string" else np.dtype(value)
    return dtype

"""Large chunks are encoded side by side, in threads that all arrays share; codecs free the GIL."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from zwriter.store.codecs import ChunkCodec

SMALL = 256 * 1024  # bytes of a chunk that is encoded sooner than it is handed over
_THREADS = os.cpu_count() or 1
AHEAD = 2 * _THREADS  # chunks of an array that wait to be written

_Encoded = tuple[Any, bytes]


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "encode")


_shared = {"pool": _new_pool()}
# threads do not come along
os.register_at_fork(after_in_child=lambda: _shared.update(pool=_new_pool()))


@dataclass(frozen=True, slots=True)
class _Chunk:
    number: int
    whole: bool
    data: NDArray[Any]
    encoded: Future[_Encoded]


class Encoding:
    """The chunks of one array that are being encoded: first in, first out."""

    def __init__(self) -> None:
        self._chunks: deque[_Chunk] = deque()

    def __len__(self) -> int:
        return len(self._chunks)

    def begin(self, codec: ChunkCodec, number: int, data: NDArray[Any], *, whole: bool) -> None:
        """Have `data` encoded. It must not change until `next` has given it back."""
        encoded = _shared["pool"].submit(codec.encode, data)
        self._chunks.append(_Chunk(number, whole, data, encoded))

    def next(self) -> tuple[int, _Encoded, bool, NDArray[Any]]:
        """The oldest chunk, once it is encoded: its number, its bytes, whether it is whole, and
        what it was. Raises what the codec raised.
        """
        chunk = self._chunks.popleft()
        return chunk.number, chunk.encoded.result(), chunk.whole, chunk.data

    def forget(self) -> None:
        """Drop all of them."""
        self._chunks.clear()


def side_by_side(codec: ChunkCodec, data: NDArray[Any]) -> bool:
    """Whether a chunk is worth handing over to another thread."""
    return codec.name != "none" and data.nbytes >= SMALL

"""The chunks of one array, encoded with no more effort than is worth it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.store.codecs import BLOSC_COPIED, BLOSC_OVERHEAD, ChunkCodec, crc_of

_PASSED_BY = 7  # chunks

Parts = tuple[Any, ...]
"""The bytes of a chunk, and of its crc32c at last: to be written one after the other."""


class Encoder:
    """After a whole chunk that Blosc could not make smaller, the next ones are taken as they are,
    behind the same header: to shuffle bits and to look in vain takes longer than to write them.
    Then it is tried again. Any thread may use it.
    """

    def __init__(self, codec: ChunkCodec) -> None:
        self._codec = codec
        self._tries = codec.name != "none" and codec.dtype.kind != "T"
        self._header = b""
        self._pass_by = 0

    def encode(self, chunk: NDArray[Any], *, whole: bool) -> Parts:
        """As `ChunkCodec.encode`, of chunks that are all as large; what it gives may be `chunk`
        itself."""
        if not whole or not self._tries:
            return self._codec.encode(chunk)
        if self._pass_by > 0:
            self._pass_by -= 1
            data = chunk.reshape(-1).view(np.uint8)
            return self._header, data, crc_of(data, behind=self._header)
        stored, crc = self._codec.encode(chunk)
        if stored[2] & BLOSC_COPIED:
            self._header = stored[:BLOSC_OVERHEAD]
            self._pass_by = _PASSED_BY
        return stored, crc

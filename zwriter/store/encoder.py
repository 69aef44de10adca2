"""The chunks of one array, encoded with no more effort than is worth it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from zwriter.store.codecs import BLOSC_COPIED, ChunkCodec

_PASSED_BY = 7  # chunks


class Encoder:
    """After a whole chunk that Blosc could not make smaller, it only copies the next ones (its
    level 0, which any reader knows): to shuffle bits and to look in vain costs four times as much.
    Then it is tried again. Any thread may use it.
    """

    def __init__(self, codec: ChunkCodec) -> None:
        self._codec, self._copying = codec, replace(codec, level=0)
        self._pass_by = 0

    def encode(self, chunk: NDArray[Any], *, whole: bool) -> tuple[Any, bytes]:
        """As `ChunkCodec.encode`."""
        if not whole or self._codec.name == "none":
            return self._codec.encode(chunk)
        if self._pass_by > 0:
            self._pass_by -= 1
            return self._copying.encode(chunk)
        stored, crc = self._codec.encode(chunk)
        self._pass_by = _PASSED_BY if stored[2] & BLOSC_COPIED else 0
        return stored, crc

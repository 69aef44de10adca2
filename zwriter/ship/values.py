"""Arrays of one chunk that are written anew each time: replaced values, and what was read at scan
points.

The spool goes through three keys, one a write; the bucket sees only some of these writes. So it
goes through the keys at a pace of its own, and what readers are pointed to is never overwritten.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zwriter.ship.bucket import Bucket
from zwriter.ship.documents import NAME, Documents, with_generation
from zwriter.store.arrays import dtype_from_json
from zwriter.store.codecs import CRC_BYTES, intact
from zwriter.store.shard import Damaged
from zwriter.store.zarr_json import chunk_key, generation_of, stored_shape, to_text


@dataclass
class ValueShipment:
    """Sends the values of the array at `folder` to `node`."""

    folder: Path
    node: str
    bucket: Bucket
    documents: Documents

    def __post_init__(self) -> None:
        self.generation: int | None = None  # of what is there
        self._ndim, self._empty = 0, False
        self._sent: bytes | None = None  # the document in the spool that belongs to it

    def recall(self, state: dict[str, Any]) -> None:
        """Know what is shown in the bucket, as a commit there says."""
        self.generation = state["generation"]
        self._ndim = len(stored_shape(tuple(state["shape"]), dtype_from_json(state["dtype"])))

    def send(self, crc: int | None = None) -> None:
        """Send the value that the spool has now. crc: the one it must have, if that is known.

        Raises Damaged if it was replaced meanwhile.
        """
        try:
            text = (self.folder / NAME).read_bytes()
            document = json.loads(text)
            ndim = len(document["shape"])
            path = self.folder / chunk_key(generation_of(document), ndim, 0)
            stored = path.read_bytes() if path.is_file() else b""
            if (self.folder / NAME).read_bytes() != text:
                raise Damaged(f"{self.folder}: the value is replaced")
        except (OSError, ValueError) as error:
            raise Damaged(f"{self.folder}: {error}") from None
        if not _whole(stored, crc):
            raise Damaged(f"{path}: not the value that was committed")
        fingerprint = text + stored[-CRC_BYTES:]
        if fingerprint == self._sent:
            return
        generation = self._next(ndim)
        if stored:
            key = chunk_key(generation, ndim, 0)
            self.bucket.put(self.documents.key_of(self.node, key), stored)
        self._document = to_text(with_generation(document, generation))
        self.generation, self._ndim, self._sent = generation, ndim, fingerprint
        self._empty = not stored

    def show(self) -> None:
        """Point readers to the value that was sent."""
        self.documents.put(self.node, self._document)

    @property
    def keys(self) -> list[str]:
        """The objects that belong to what is shown."""
        assert self.generation is not None
        names = [NAME] if self._empty else [NAME, chunk_key(self.generation, self._ndim, 0)]
        return [self.documents.key_of(self.node, name) for name in names]

    def _next(self, ndim: int) -> int:
        if self.generation is None:
            return 0
        taken = chunk_key(self.generation, self._ndim, 0)
        following = ((self.generation + step) % 3 for step in (1, 2))
        return next(g for g in following if chunk_key(g, ndim, 0) != taken)


def _whole(stored: bytes, crc: int | None) -> bool:
    if not stored:
        return crc is None
    found = int.from_bytes(stored[-CRC_BYTES:], "little")
    return intact(stored) and crc in (None, found)

"""Arrays of one chunk that are written anew each time: replaced values, and what was read at scan
points.

The spool goes through three keys, one a write; the bucket sees only some of these writes. So it
goes through the keys at a pace of its own, and neither what the last commit says nor, if that can
be, what readers are pointed to is overwritten.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zwriter.errors import Damaged
from zwriter.ship.bucket import Bucket
from zwriter.ship.documents import NAME, Documents, with_generation
from zwriter.store.array_state import dtype_from_json
from zwriter.store.codecs import CRC_BYTES, intact
from zwriter.store.zarr_json import chunk_key, generation_of, next_generation, stored_shape, to_text


@dataclass
class ValueShipment:
    """Sends the values of the array at `folder` to `node`."""

    folder: Path
    node: str
    bucket: Bucket
    documents: Documents

    def __post_init__(self) -> None:
        self.generation: int | None = None  # of what was sent
        self._shown: int | None = None  # what readers are pointed to
        self._committed = ""  # the key of what the last commit says
        self._ndim, self._empty = 0, False
        self._sent: bytes | None = None  # the document in the spool that belongs to it
        self._next: tuple[dict[str, Any], bytes, bytes] | None = None  # that was read

    def recall(self, state: dict[str, Any]) -> None:
        """Know what is shown in the bucket, as a commit there says."""
        self.generation = self._shown = state["generation"]
        self._ndim = len(stored_shape(tuple(state["shape"]), dtype_from_json(state["dtype"])))
        self.committed()

    def committed(self) -> None:
        """A commit says now what was sent."""
        assert self.generation is not None
        self._committed = chunk_key(self.generation, self._ndim, 0)

    def read(self, crc: int | None = None) -> None:
        """Take the value that the spool has now, to be sent. crc: the one it must have, if that is
        known.

        Raises Damaged if it was replaced meanwhile.
        """
        self._next = None
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
        if not (intact(stored, crc) if stored else crc is None):
            raise Damaged(f"{path}: not the value that was committed")
        fingerprint = text + stored[-CRC_BYTES:]
        if fingerprint != self._sent:
            self._next = document, stored, fingerprint

    def send(self) -> None:
        """Send what was read, unless it is there already."""
        if self._next is None:
            return
        document, stored, fingerprint = self._next
        ndim = len(document["shape"])
        generation = next_generation(self._shown, ndim, lambda key: key == self._committed)
        if stored:
            key = chunk_key(generation, ndim, 0)
            self.bucket.put(self.documents.key_of(self.node, key), stored)
        self._document = to_text(with_generation(document, generation))
        self.generation, self._ndim, self._sent = generation, ndim, fingerprint
        self._empty, self._next = not stored, None

    def show(self) -> None:
        """Point readers to the value that was sent."""
        self.documents.put(self.node, self._document)
        self._shown = self.generation

    @property
    def keys(self) -> list[str]:
        """The objects that belong to what is shown."""
        assert self.generation is not None
        names = [NAME] if self._empty else [NAME, chunk_key(self.generation, self._ndim, 0)]
        return [self.documents.key_of(self.node, name) for name in names]

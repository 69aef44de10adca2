"""The `zarr.json` documents of a scan in a bucket, sent when they have changed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from zwriter.ship.bucket import Bucket
from zwriter.store.zarr_json import chunk_key_encoding, to_text

NAME = "zarr.json"


class Documents:
    """Those of the store `key`, by the node that they describe ("" for the root). Any thread."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self.key = bucket, key
        self._sent: dict[str, bytes] = {}
        self._changing = Lock()

    def put(self, node: str, text: bytes) -> None:
        """Send a document if it is not what was sent."""
        if self._sent.get(node) == text:
            return
        self._bucket.put(self.key_of(node, NAME), text)
        with self._changing:
            self._sent[node] = text

    def mirror(self, node: str, folder: Path) -> None:
        """Send the document of the local `folder`, if there is one."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self.put(node, (folder / NAME).read_bytes())

    def __contains__(self, node: str) -> bool:
        """Whether the node's document was sent."""
        return node in self._sent

    def sent(self, node: str) -> dict[str, Any]:
        """What the bucket has of a node whose document was sent."""
        document: dict[str, Any] = json.loads(self._sent[node])
        return document

    def key_of(self, node: str, name: str) -> str:
        return "/".join(part for part in (self.key, node, name) if part)


def with_shape(document: dict[str, Any], rows: int) -> bytes:
    """An array's document, with as many rows as are there."""
    return to_text({**document, "shape": [rows, *document["shape"][1:]]})


def with_generation(document: dict[str, Any], generation: int) -> dict[str, Any]:
    """A document that points to chunks of another generation."""
    return {**document, "chunk_key_encoding": chunk_key_encoding(generation)}

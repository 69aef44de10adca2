"""The `zarr.json` documents of a scan in a bucket, sent when they have changed."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import Any

from zwriter.ship.bucket import Bucket
from zwriter.store.zarr_json import GENERATIONS

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

    def mirror(self, node: str, folder: Path) -> bool:
        """Send the document of the local `folder`; False if there is none."""
        try:
            text = (folder / NAME).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return False
        self.put(node, text)
        return True

    def sent(self, node: str) -> dict[str, Any] | None:
        """What the bucket has; None if nothing was sent."""
        text = self._sent.get(node)
        return None if text is None else json.loads(text)

    def key_of(self, node: str, name: str) -> str:
        return "/".join(part for part in (self.key, node, name) if part)


def with_shape(document: dict[str, Any], rows: int) -> bytes:
    """An array's document, with as many rows as are there."""
    return to_text({**document, "shape": [rows, *document["shape"][1:]]})


def with_generation(document: dict[str, Any], generation: int) -> dict[str, Any]:
    """A document that points to chunks of another generation."""
    name, separator = GENERATIONS[generation % 3]
    keys = {"name": name, "configuration": {"separator": separator}}
    return {**document, "chunk_key_encoding": keys}


def to_text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()

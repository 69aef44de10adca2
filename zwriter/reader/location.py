"""Where a scan lies, and all that the reader asks of the place: bytes, names and a Zarr store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.storage import LocalStore

from zwriter.errors import StoreError, UsageError

DEVICES = "entry/collection/devices"


class Location:
    """A scan store, `<base>.zarr`, on a local disk. Nothing is cached: each call looks anew."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UsageError(f"{path}: no such scan store; give the path of a <base>.zarr folder")
        self.store: Store = LocalStore(self.path, read_only=True)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def beside(self) -> Path:
        """The folder with commits, journal and quarantine, until the scan is finished."""
        return self.path.with_suffix(".zwriter")

    def metadata(self, node: str) -> dict[str, Any] | None:
        """The `zarr.json` of a group or an array as it is now; None where there is none.

        Raises StoreError if it is not JSON.
        """
        try:
            text = (self.path / node / "zarr.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            metadata = json.loads(text)
        except ValueError as error:
            raise StoreError(f"{self.path / node / 'zarr.json'} is damaged: {error}") from None
        if not isinstance(metadata, dict):
            raise StoreError(f"{self.path / node / 'zarr.json'} is damaged: it is not an object")
        return metadata

    def attributes(self, node: str) -> dict[str, Any]:
        """The attributes of a group or an array; empty where there is none."""
        attributes: dict[str, Any] = (self.metadata(node) or {}).get("attributes", {})
        return attributes

    def folders(self, node: str) -> list[str]:
        """The names of the folders in a group, sorted."""
        try:
            return sorted(entry.name for entry in (self.path / node).iterdir() if entry.is_dir())
        except FileNotFoundError:
            return []

"""Where a scan lies, and all that the reader asks of the place: bytes, names and a Zarr store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from zarr.abc.store import Store

from zwriter.errors import StoreError
from zwriter.objects import AnyPath, at_once, contents, place, zarr_store
from zwriter.store.layout import side_folder


class Location:
    """A scan store, `<base>.zarr`, on a disk or in a bucket. Nothing is cached: each call looks
    anew. storage_options: of the object store, for a URL."""

    def __init__(
        self, path: str | AnyPath, storage_options: Mapping[str, Any] | None = None
    ) -> None:
        self.path = place(path, storage_options)
        if isinstance(self.path, Path) and (self.path.is_symlink() or self.path.name in ("", "..")):
            self.path = self.path.resolve()  # what lies beside it lies there
        self.at_once = at_once(self.path)

    @cached_property
    def store(self) -> Store:
        """What zarr-python reads the arrays by."""
        return zarr_store(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def beside(self) -> AnyPath:
        """The folder with commits, journal and quarantine, until the scan is finished."""
        return side_folder(self.path)

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
        attributes = (self.metadata(node) or {}).get("attributes", {})
        if not isinstance(attributes, dict):
            raise StoreError(
                f"{self.path / node / 'zarr.json'} is damaged: its attributes are none"
            )
        return attributes

    def folders(self, node: str) -> list[str]:
        """The names of the folders in a group, sorted."""
        return sorted(name for name, is_folder in contents(self.path / node).items() if is_folder)

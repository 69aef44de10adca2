"""A folder for scans, on a disk or in a bucket: written and read by the same code.

>>> with scans.writer(settings=settings) as scan:
...     scan.add("eiger", "image", frame)
...     scan.flush()
...     assert len(scans.open().devices["eiger"]["image"].value) == 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray
import zarr

from zwriter.objects import AnyPath, ObjectPath
from zwriter.reader import Scan, open_scan
from zwriter.scan import ScanWriter
from zwriter.settings import SpoolSettings
from zwriter.store.layout import DEVICES


def remove(file: AnyPath) -> None:
    """Lose a file, or an object."""
    if isinstance(file, ObjectPath):
        file.delete()
    else:
        file.unlink()


def names_in(folder: AnyPath) -> list[str]:
    """What is in a folder, if it is there; in a bucket, what has objects: a server may list folders
    of none."""
    if not isinstance(folder, ObjectPath):
        return sorted(path.name for path in folder.glob("*"))
    inside = (url.removeprefix(f"{folder}/") for url in folder.sizes())
    return sorted({name.partition("/")[0] for name in inside})


@dataclass(frozen=True, slots=True)
class ScanFolder:
    """A folder `path`; if it is in a bucket, scans go through `spool`. Made by the fixture
    `scans`. A store is called by its name in it.
    """

    path: AnyPath
    spool: SpoolSettings

    def __truediv__(self, name: str) -> AnyPath:
        return self.path / name

    def names(self) -> list[str]:
        """What is in it."""
        return names_in(self.path)

    @property
    def nbytes(self) -> int:
        """What all that is in it takes."""
        if isinstance(self.path, ObjectPath):
            return sum(self.path.sizes().values())
        return sum(file.stat().st_size for file in self.path.rglob("*"))

    def writer(self, name: str = "S1.zarr", **options: Any) -> ScanWriter:
        """A writer of this scan, from wherever it is; options: those of ScanWriter."""
        return ScanWriter(self / name, spool=self.spool, **options)

    def open(self, name: str = "S1.zarr") -> Scan:
        return open_scan(self / name)

    def array(self, node: str, name: str = "S1.zarr") -> Any:
        """What plain zarr-python finds at `<device>/<signal>/<array>`."""
        return zarr.open_array(f"{self / name}/{DEVICES}/{node}", mode="r")

    def dataset(self, node: str, name: str = "S1.zarr") -> xarray.Dataset:
        """What plain xarray makes of `<device>/<signal>`."""
        path = f"{self / name}/{DEVICES}/{node}"
        dataset: xarray.Dataset = xarray.open_zarr(path, consolidated=False, chunks=None)
        return dataset

"""Is what is stored whole? Everything is read; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zwriter.errors import UsageError
from zwriter.objects import AnyPath, place
from zwriter.reader.listing import find_stores
from zwriter.reader.verify.master import verify_master
from zwriter.reader.verify.report import Report
from zwriter.reader.verify.store import verify_store

__all__ = ["Report", "verify"]


def verify(path: str | AnyPath, *, storage_options: Mapping[str, Any] | None = None) -> Report:
    """Check a store (`.zarr`), a master file (`.h5`), or every one of both below a folder; in a
    bucket, stores only. storage_options: as in `open_scan`.

    Raises UsageError if there is nothing to check.
    """
    path = place(path, storage_options)
    if isinstance(path, Path) and path.is_file():
        return verify_master(str(path))
    if path.suffix == ".zarr" and path.is_dir():
        return verify_store(path)
    report = Report(str(path))
    parts = [verify_store(store) for store in find_stores(path)]
    if isinstance(path, Path):
        parts += [verify_master(str(master)) for master in sorted(path.rglob("*_master*.h5"))]
    if not parts:
        raise UsageError(f"{path}: no scan store and no master file is there")
    for part in parts:
        report.include(part)
    return report

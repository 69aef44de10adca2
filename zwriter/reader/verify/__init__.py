"""Is what is stored whole? Everything is read; nothing is changed."""

from __future__ import annotations

from pathlib import Path

from zwriter.errors import UsageError
from zwriter.reader.listing import find_stores
from zwriter.reader.verify.master import verify_master
from zwriter.reader.verify.report import Report
from zwriter.reader.verify.store import verify_store

__all__ = ["Report", "verify"]


def verify(path: str | Path) -> Report:
    """Check a store (`.zarr`), a master file (`.h5`), or every one of both below a folder.

    Raises UsageError if there is nothing to check.
    """
    path = Path(path)
    if path.is_file():
        return verify_master(str(path))
    if path.suffix == ".zarr" and path.is_dir():
        return verify_store(str(path))
    report = Report(str(path))
    parts = [verify_store(str(store)) for store in find_stores(path)]
    parts += [verify_master(str(master)) for master in sorted(path.rglob("*_master*.h5"))]
    if not parts:
        raise UsageError(f"{path}: no scan store and no master file is there")
    for part in parts:
        report.include(part)
    return report

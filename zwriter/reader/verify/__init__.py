"""Is what is stored whole? Everything is read; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zwriter.errors import UsageError
from zwriter.objects import AnyPath, contents, place
from zwriter.reader.listing import find_scans, find_stores, masters_of
from zwriter.reader.verify.master import is_ours, verify_master
from zwriter.reader.verify.report import Report
from zwriter.reader.verify.store import verify_store

__all__ = ["Report", "verify"]


def verify(path: str | AnyPath, *, storage_options: Mapping[str, Any] | None = None) -> Report:
    """Check a store (`.zarr`), a master file (`.h5`), or every one of both below a folder, where
    others', as BEC's, are passed by; in a bucket a store together with its master file. A folder
    that cannot be read is a problem. storage_options: as in `open_scan`.

    Raises UsageError if there is nothing to check.
    """
    path = place(path, storage_options)
    if (isinstance(path, Path) or path.suffix == ".h5") and path.is_file():
        return verify_master(path, storage_options)
    if isinstance(path, Path) and path.suffix == ".zarr" and path.is_dir():
        return verify_store(path)
    report = Report(str(path))
    refused: list[OSError] = []
    parts = [verify_store(store) for store in find_stores(path, refused.append) if store.is_dir()]
    parts += [verify_master(master, storage_options) for master in _masters(path)]
    report.problems += [f"{error.filename} cannot be read: {error.strerror}" for error in refused]
    if not parts and not refused:
        raise UsageError(f"{path}: no scan store and no master file is there")
    for part in parts:
        report.include(part)
    return report


def _masters(folder: AnyPath) -> Iterator[AnyPath]:
    """The master files below a folder; in a bucket those that lie beside a store."""
    if isinstance(folder, Path):
        yield from (path for path in sorted(folder.rglob("*_master*.h5")) if not _is_others(path))
    elif folder.suffix == ".zarr":
        beside = contents(folder.parent)
        if master := masters_of(beside).get(folder.stem):
            yield folder.with_name(master)
    else:
        scans = find_scans(folder)
        yield from (scan.path.with_name(scan.master) for scan in scans if scan.master)


def _is_others(path: Path) -> bool:
    """What cannot be opened is not: it is looked at, and its problem told."""
    try:
        return is_ours(path) is False
    except OSError:
        return False

"""Is what is stored whole? Everything is read; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zwriter.errors import StoreError, UsageError
from zwriter.objects import AnyPath, contents, place
from zwriter.reader.listing import find_scans, find_stores, masters_of
from zwriter.reader.location import Location
from zwriter.reader.scan import is_of_others
from zwriter.reader.verify.master import is_ours, verify_master
from zwriter.reader.verify.report import Report, worst
from zwriter.reader.verify.store import verify_store
from zwriter.store.disk import walk

__all__ = ["Report", "verify"]


def verify(path: str | AnyPath, *, storage_options: Mapping[str, Any] | None = None) -> Report:
    """Check a store (`.zarr`) together with its master file, if that lies beside it; a master file
    (`.h5`); or every store and every `*_master*.h5` below a folder. What others wrote, as BEC, is
    passed by. A folder that cannot be read is a problem. storage_options: as in `open_scan`.

    Raises UsageError if there is nothing to check.
    """
    path = place(path, storage_options)
    if (isinstance(path, Path) or path.suffix == ".h5") and path.is_file():
        return verify_master(path, storage_options)
    report = Report(str(path))
    refused: list[OSError] = []
    parts = [verify_store(store) for store in _stores(path, refused)]
    parts += [verify_master(master, storage_options) for master in _masters(path)]
    report.problems += [f"{error.filename} cannot be read: {error.strerror}" for error in refused]
    if not parts and not refused:
        raise UsageError(f"{path}: no scan store and no master file is there")
    for part in parts:
        report.include(part)
    report.verdict = worst(part.verdict for part in parts)
    return report


def _stores(path: AnyPath, refused: list[OSError]) -> Iterator[AnyPath]:
    """The stores that are meant: one, or those below a folder."""
    if path.suffix == ".zarr":
        if path.is_dir():
            yield path
        return
    for store in find_stores(path, refused.append):
        if store.is_dir() and not is_of_others(_document(store)):
            yield store


def _document(store: AnyPath) -> dict[str, Any]:
    try:
        return Location(store).metadata("") or {}
    except (StoreError, OSError):
        return {}


def _masters(folder: AnyPath) -> Iterator[AnyPath]:
    """The master file beside a store; those below a folder, in a bucket beside a store."""
    if folder.suffix == ".zarr":
        beside = contents(folder.parent)
        if master := masters_of(beside).get(folder.stem):
            found = folder.with_name(master)
            if not isinstance(found, Path) or not _is_others(found):
                yield found
    elif isinstance(folder, Path):
        found_below = (
            below / name
            for below, _, files in walk(folder, lambda error: None, links=True)  # is told of stores
            for name in sorted(files)
            if fnmatchcase(name, "*_master*.h5")
        )
        yield from (path for path in sorted(found_below) if not _is_others(path))
    else:
        scans = find_scans(folder)
        yield from (scan.path.with_name(scan.master) for scan in scans if scan.master)


def _is_others(path: Path) -> bool:
    """What cannot be opened is not: it is looked at, and its problem told."""
    try:
        return is_ours(path) is False
    except OSError:
        return False

"""The scans below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zwriter.errors import StoreError, UsageError
from zwriter.objects import AnyPath, ObjectPath, contents, each, place
from zwriter.reader.commits import DeviceCommit, commit_in, read_commit
from zwriter.reader.location import DEVICES, Location
from zwriter.reader.scan import scan_attributes


def find_stores(root: AnyPath) -> Iterator[AnyPath]:
    """The scan stores below `root`, in order of path; folders inside a store are not looked at."""
    if isinstance(root, ObjectPath):
        yield from _in_bucket(root)
        return
    for folder, names, files in os.walk(root):
        names.sort()
        if folder.endswith(".zarr") and "zarr.json" in files:
            names.clear()
            yield Path(folder)
        names[:] = [name for name in names if not name.startswith(".")]


def _in_bucket(root: ObjectPath) -> list[ObjectPath]:
    """By one listing a folder that is no store: for ten thousand scans in one folder, by one."""
    if root.suffix == ".zarr":
        return [root]
    level, found = [root], []
    while level:
        below = []
        for folder, inside in zip(level, each(root, contents, level), strict=True):
            folders = [folder / name for name, is_folder in inside.items() if is_folder]
            found += [path for path in folders if path.suffix == ".zarr"]
            others = [path for path in folders if path.suffix not in (".zarr", ".zwriter")]
            below += [path for path in others if not path.name.startswith(".")]
        level = below
    return sorted(found, key=str)


def listing(
    root: str | AnyPath, *, storage_options: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """One line a scan store below `root`, for `zwriter ls`: what its root document and commits say.

    `rows` and `missing` are sums over all signals; what only looks like a store has an `error`.
    Raises UsageError if there is no such folder.
    """
    folder = place(root, storage_options)
    stores = list(find_stores(folder))
    if not stores and not folder.is_dir():
        raise UsageError(f"{root}: no such folder")
    return [line for line in each(folder, _line, stores) if line]


def _line(path: AnyPath) -> dict[str, Any] | None:
    """None where there is no root document (yet): not a store."""
    location = Location(path)
    try:
        document = location.metadata("")
        if document is None:
            return None
        own = scan_attributes(document, location)
        commits = _commits(location, document)
    except StoreError as error:
        return {"path": str(path), "error": str(error)}
    signals = [signal for commit in commits if commit for signal in commit.signals.values()]
    names = ("scan_id", "scan_number", "status", "verdict", "finished", "start_time", "end_time")
    return {
        "path": str(path),
        **{name: own.get(name) for name in names},
        "devices": len(commits),
        "rows": sum(signal.rows for signal in signals),
        "missing": sum(signal.ledger.missing for signal in signals),
    }


def _commits(location: Location, document: dict[str, Any]) -> list[DeviceCommit | None]:
    """The commits of all devices: of a finished scan, the root document has all that there is."""
    consolidated = (document.get("consolidated_metadata") or {}).get("metadata")
    if consolidated is None:
        return [read_commit(location, name) for name in location.folders(DEVICES)]
    groups = [node for node in consolidated if node.rpartition("/")[0] == DEVICES]
    return [commit_in(consolidated[node].get("attributes", {}), str(location)) for node in groups]

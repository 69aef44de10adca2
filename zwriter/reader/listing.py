"""The scans below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zwriter.errors import StoreError, UsageError
from zwriter.reader.commits import read_commit
from zwriter.reader.location import DEVICES, Location
from zwriter.reader.scan import root_attributes


def find_stores(root: str | Path) -> Iterator[Path]:
    """The scan stores below `root`, in order of path; folders inside a store are not looked at."""
    for folder, names, files in os.walk(root):
        names.sort()
        if folder.endswith(".zarr") and "zarr.json" in files:
            names.clear()
            yield Path(folder)
        names[:] = [name for name in names if not name.startswith(".")]


def listing(root: str | Path) -> list[dict[str, Any]]:
    """One line a scan store below `root`, for `zwriter ls`: what its root document and commits say.

    `rows` and `missing` are sums over all signals; what only looks like a store has an `error`.
    Raises UsageError if there is no such folder.
    """
    if not Path(root).is_dir():
        raise UsageError(f"{root}: no such folder")
    return [_line(path) for path in find_stores(root)]


def _line(path: Path) -> dict[str, Any]:
    try:
        location = Location(path)
        own = root_attributes(location)
        commits = [read_commit(location, name) for name in location.folders(DEVICES)]
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

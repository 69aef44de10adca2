"""Where things lie in a store and beside it: see docs/format.md."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from zwriter.errors import UsageError
from zwriter.objects import AnyPath, ObjectPath

FORMAT = 1
DEVICES = "entry/collection/devices"
GROUPS = {  # that all scans have
    "entry": {"NX_class": "NXentry"},
    "entry/collection": {"NX_class": "NXcollection"},
    DEVICES: {"NX_class": "NXcollection"},
}
KEPT = "entry/zwriter"  # the group that a finished store keeps its logs in
LOGS = ("journal", "quarantine")
FED_BY = "redis"  # beside a store: the Redis that a service feeds it from

PathT = TypeVar("PathT", bound=AnyPath)


def side_folder(path: PathT) -> PathT:
    """The folder beside a store that is there while the scan is not finalized."""
    side: PathT = path.with_suffix(".zwriter")  # type: ignore[assignment]
    return side


def sync_name(signal: str, pushed: Collection[str], read: Collection[str]) -> str:
    """What readings of a signal at scan points are called in its device, which has `pushed` other
    signals: `<signal>_sync` if it is one of these. read: all that are read there."""
    name = signal
    while name in pushed or (name != signal and name in read):
        name += "_sync"
    return name


def check_store_name(path: AnyPath) -> None:
    """Raises UsageError for a path that no store can have."""
    if path.suffix != ".zarr" or (isinstance(path, ObjectPath) and not path.key):
        raise UsageError(f"{path}: the name of a store ends in .zarr")


def read_file(path: AnyPath) -> bytes:
    """What a file has. Raises FileNotFoundError for what is none: a pipe would be waited for."""
    if isinstance(path, Path) and not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return path.read_bytes()


def own_attributes(path: AnyPath) -> dict[str, Any]:
    """What zwriter says of a store in its root document; empty if that cannot be read."""
    try:
        own = json.loads(read_file(path / "zarr.json"))["attributes"]["zwriter"]
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return {}
    return own if isinstance(own, dict) else {}

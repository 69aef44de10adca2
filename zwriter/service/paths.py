"""Where a scan goes: always below the root, never where another scan is."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zwriter.errors import UsageError
from zwriter.master.places import master_path
from zwriter.protocol import ScanStatus, safe_name
from zwriter.settings import Settings
from zwriter.store.scan_store import side_folder

log = logging.getLogger(__name__)

_MARK = "redis"
_LONGEST_NAME = 200  # of a file system's 255 bytes, less what is appended to it


@dataclass(frozen=True, slots=True)
class ScanPaths:
    """A scan's store and master file."""

    store: Path
    master: Path

    @classmethod
    def at(cls, base: Path, status: ScanStatus | None, settings: Settings) -> ScanPaths:
        """`<base>.zarr`, and `<base>_master[_<file_suffix>].h5` beside it or where the settings
        say."""
        return cls.of_store(base.with_name(f"{base.name}.zarr"), status, settings)

    @classmethod
    def of_store(cls, store: Path, status: ScanStatus | None, settings: Settings) -> ScanPaths:
        """The paths of a scan whose store is known; status: None if no message told of it."""
        suffix = _suffix(status) if status else ""
        master = master_path(store, settings.root.resolve(), settings.master, suffix)
        assert isinstance(master, Path)
        return cls(store, master)


def paths_for(status: ScanStatus, settings: Settings, in_use: Collection[Path] = ()) -> ScanPaths:
    """Where the scan goes: as its `file_components` say if that is below the root, else as the
    template says. The folder may not exist yet. A place that is taken, or in use
    by another open scan, gets the scan_id appended.
    """
    root = settings.root.resolve()
    base = _announced(status, root) or _from_template(status, settings.path_template, root)
    paths = ScanPaths.at(base, status, settings)
    if paths.store in in_use or _taken(paths, status.scan_id):
        elsewhere = base.with_name(f"{base.name}_{_id_name(status.scan_id)}")
        other = ScanPaths.at(elsewhere, status, settings)
        log.warning("%s is another scan's; scan %s goes to %s", base, status.scan_id, other.store)
        return other
    return paths


def check_template(template: str) -> None:
    """Raises UsageError if the settings' path_template cannot be used."""
    try:
        _fill(template, 1, "scan_id")
    except (LookupError, ValueError, AttributeError) as error:
        raise UsageError(
            f"path_template {template!r} cannot be used ({error!r}); it knows"
            " {scan_number}, {block_start}, {block_end} and {scan_id}"
        ) from error


def mark_as_fed(store: Path, url: str) -> None:
    """Note that a service feeds this store from Redis. A program may write one without, and
    nobody but the program knows when that ends."""
    (side_folder(store) / _MARK).write_text(f"{url}\n")


def fed_from(store: Path) -> str | None:
    """The Redis that a service feeds an unfinished store from; None if none does."""
    try:
        return (side_folder(store) / _MARK).read_text().strip()
    except FileNotFoundError:
        return None


def find_unfinished(root: Path) -> Iterator[Path]:
    """The stores below the root that were fed by a service and are not finished.

    What was left of cleaning up behind a finished one is removed.
    """
    for folder, names, _ in os.walk(root):
        for name in sorted(names):
            side = Path(folder, name)
            if name.endswith(".zwriter") and (side / _MARK).exists():
                yield side.with_suffix(".zarr")
            elif name.endswith(".zwriter") and _finished(side.with_suffix(".zarr")):
                log.info("%s: what was left of it is removed, its scan is finished", side)
                shutil.rmtree(side, ignore_errors=True)
        names[:] = [name for name in names if not name.endswith((".zarr", ".zwriter"))]


def _finished(store: Path) -> bool:
    return bool(_own_attributes(store).get("finished"))


def finished_here(store: Path, scan_id: str) -> bool:
    """Whether the store is this scan's, and complete."""
    own = _own_attributes(store)
    return own.get("scan_id") == scan_id and bool(own.get("finished"))


def _announced(status: ScanStatus, root: Path) -> Path | None:
    components = status.info.get("file_components")
    if not isinstance(components, list) or not components or not isinstance(components[0], str):
        return None
    try:
        base = Path(components[0])
        resolved = base.resolve()
    except (OSError, ValueError, RuntimeError):  # NUL, too long, a loop of links
        return None
    if not base.is_absolute() or not _below(resolved, root):
        log.debug("scan %s: %s is not below %s", status.scan_id, base, root)
        return None
    return resolved


def _from_template(status: ScanStatus, template: str, root: Path) -> Path:
    name = _id_name(status.scan_id)
    if status.scan_number is None:
        log.warning("scan %s has no number; it goes to %s", status.scan_id, root / name)
        return root / name / name
    base = (root / _fill(template, status.scan_number, name)).resolve()
    if not _below(base, root):
        log.error("path_template leads out of %s; scan %s goes to %s", root, name, root / name)
        return root / name / name
    return base


def _fill(template: str, number: int, scan_id: str) -> str:
    start = number // 1000 * 1000
    return template.format(
        scan_number=number, block_start=start, block_end=start + 999, scan_id=scan_id
    )


def _below(path: Path, root: Path) -> bool:
    return (
        path != root and path.is_relative_to(root) and len(os.fsencode(path.name)) <= _LONGEST_NAME
    )


def _id_name(scan_id: str) -> str:
    """The scan_id, or a digest of it where it is no good name for a file."""
    if len(scan_id) <= 64 and scan_id.isascii() and scan_id.replace("-", "").isalnum():
        return scan_id
    return hashlib.sha256(scan_id.encode()).hexdigest()[:32]


def _suffix(status: ScanStatus) -> str:
    system = status.scan_parameters.get("system_config")
    suffix = system.get("file_suffix") if isinstance(system, dict) else None
    if not suffix:
        return ""
    if not safe_name(suffix) or len(suffix) > 40:
        log.warning("scan %s: file_suffix %.100r cannot be used", status.scan_id, suffix)
        return ""
    return f"_{suffix}"


def _taken(paths: ScanPaths, scan_id: str) -> bool:
    """Whether there is something that is not this scan's."""
    if (paths.store / "zarr.json").exists():
        return _own_attributes(paths.store).get("scan_id") != scan_id
    if side_folder(paths.store).exists():
        return False  # begun, and there is nothing in it yet
    return paths.store.exists() or paths.master.exists()


def _own_attributes(store: Path) -> dict[str, Any]:
    """What zwriter says of a store in its root document; empty if that cannot be read."""
    try:
        own = json.loads((store / "zarr.json").read_bytes())["attributes"]["zwriter"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return own if isinstance(own, dict) else {}

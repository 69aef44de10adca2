"""Where a scan goes: always below the root, never where another scan is."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zwriter.errors import ServiceError, UsageError
from zwriter.master.places import master_path
from zwriter.objects import AnyPath, ObjectPath
from zwriter.protocol import ScanStatus, safe_name
from zwriter.service.roots import id_name, root_of
from zwriter.settings import Settings
from zwriter.ship import Spool
from zwriter.store.layout import own_attributes, side_folder

log = logging.getLogger(__name__)

_LONGEST_NAME = 190  # of a file system's 255 bytes, less what is appended to it:
_LONGEST_SUFFIX = 40  # bytes of the master file's, and "_master_.h5.12345678.part"
_LONGEST_ID = 65  # bytes of a scan_id and what is before it
_LONGEST_PATH = 3072  # of Linux' 4096 bytes, less what is below a store


@dataclass(frozen=True, slots=True)
class ScanPaths:
    """A scan's store and master file."""

    store: AnyPath
    master: AnyPath

    @classmethod
    def at(cls, base: AnyPath, status: ScanStatus | None, settings: Settings) -> ScanPaths:
        """`<base>.zarr`, and `<base>_master[_<file_suffix>].h5` beside it or where the settings
        say."""
        return cls.of_store(base.with_name(f"{base.name}.zarr"), status, settings)

    @classmethod
    def of_store(cls, store: AnyPath, status: ScanStatus | None, settings: Settings) -> ScanPaths:
        """The paths of a scan whose store is known; status: None if no message told of it."""
        suffix = _suffix(status) if status else ""
        return cls(store, master_path(store, root_of(settings), settings.master, suffix))


def paths_for(
    status: ScanStatus, settings: Settings, in_use: Collection[str] = (), *, look: bool = True
) -> ScanPaths:
    """Where the scan goes: as its `file_components` say if that is below the root, else as the
    template says. The folder may not exist yet. A place that is taken, as far as may be looked,
    or in use by another open scan, gets the scan_id appended.
    """
    root = root_of(settings)
    base = (_announced(status, root) if isinstance(root, Path) else None) or _from_template(
        status, settings.path_template, root
    )
    paths = ScanPaths.at(base, status, settings)
    if str(paths.store) in in_use or _taken(paths, status.scan_id, settings, look=look):
        return elsewhere(paths, status, settings)
    return paths


def elsewhere(paths: ScanPaths, status: ScanStatus, settings: Settings) -> ScanPaths:
    """Where a scan goes if `paths` turn out to be another one's."""
    stem = os.fsencode(paths.store.stem)[: _LONGEST_NAME - _LONGEST_ID].decode(errors="ignore")
    name = f"{stem}_{id_name(status.scan_id)}.zarr"
    other = ScanPaths.of_store(paths.store.with_name(name), status, settings)
    log.warning(
        "%s is another scan's; scan %s goes to %s", paths.store, status.scan_id, other.store
    )
    return other


def check_template(template: str, root: AnyPath) -> None:
    """Raises UsageError if the settings' path_template does not give each scan its own place below
    the root."""
    try:
        places = [_fill(template, number, f"scan-{number}", root) for number in (1, 2)]
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"path_template {template!r} cannot be used ({error!r}); it knows"
            " {scan_number}, {block_start}, {block_end} and {scan_id}"
        ) from error
    for base in places:
        if not _below(base, root):
            raise UsageError(
                f"path_template {template!r} leads to {base}, which is not below {root} or has too"
                " long a name"
            )
    if str(places[0]) == str(places[1]):
        raise UsageError(
            f"path_template {template!r} gives scans the same place; put {{scan_number}} into it"
        )


def finished_here(store: AnyPath, scan_id: str) -> bool:
    """Whether the store is this scan's, and complete, as far as that can be known now."""
    own = _own(store)
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
    blocked = any(map(_is_in_the_way, resolved.parents))
    if not base.is_absolute() or not _below(resolved, root) or blocked:
        text = "scan %s: %.300r is no place below %s: it goes where path_template says"
        log.warning(text, status.scan_id, components[0], root)
        return None
    return resolved


def _from_template(status: ScanStatus, template: str, root: AnyPath) -> AnyPath:
    name = id_name(status.scan_id)
    if status.scan_number is None:
        log.warning("scan %s has no number; it goes to %s", status.scan_id, root / name)
        return root / name / name
    base = _fill(template, status.scan_number, name, root)
    if not _below(base, root):
        log.error("path_template leads out of %s; scan %s goes to %s", root, name, root / name)
        return root / name / name
    return base


def _fill(template: str, number: int, scan_id: str, root: AnyPath) -> AnyPath:
    start = number // 1000 * 1000
    base = root / template.format(
        scan_number=number, block_start=start, block_end=start + 999, scan_id=scan_id
    )
    return base.resolve() if isinstance(base, Path) else base


def _below(path: AnyPath, root: AnyPath) -> bool:
    """Whether a scan may go there: not into another scan's store, or what lies beside that."""
    top = f"{str(root).rstrip('/')}/"
    inside = str(path).removeprefix(top)
    if not str(path).startswith(top) or not inside.isprintable():
        return False
    *folders, name = map(os.fsencode, inside.split("/"))
    if len(name) > _LONGEST_NAME or len(os.fsencode(str(path))) > _LONGEST_PATH:
        return False
    return not any(len(f) > 255 or f.endswith((b".zarr", b".zwriter")) for f in folders)


def _is_in_the_way(folder: Path) -> bool:
    """Whether something is there that is no folder."""
    try:
        return not stat.S_ISDIR(folder.lstat().st_mode)
    except OSError:  # not there, or it cannot be seen now
        return False


def _suffix(status: ScanStatus) -> str:
    system = status.scan_parameters.get("system_config")
    suffix = system.get("file_suffix") if isinstance(system, dict) else None
    if not suffix:
        return ""
    if not safe_name(suffix) or len(suffix.encode()) > _LONGEST_SUFFIX:
        log.warning("scan %s: file_suffix %.100r cannot be used", status.scan_id, suffix)
        return ""
    return f"_{suffix}"


def _taken(paths: ScanPaths, scan_id: str, settings: Settings, *, look: bool) -> bool:
    """Whether there is something that is not this scan's, as far as that can be known now."""
    store = paths.store
    try:
        if isinstance(store, ObjectPath):
            spooled = _own(Spool(settings.spool, store).store)
            if spooled.get("scan_id", scan_id) != scan_id:
                return True
        if not look:
            return False
        if isinstance(store, Path) and side_folder(store).is_symlink():
            return True  # what it leads to is somebody else's
        if (store / "zarr.json").exists():
            return _own(store).get("scan_id") != scan_id
        if isinstance(store, Path) and store.is_symlink():
            return True
        if side_folder(store).exists():
            return False  # begun, and there is nothing in it yet
        return store.exists() or paths.master.exists()
    except (OSError, ServiceError, UsageError) as error:
        log.warning("%s: whether it is free cannot be seen: %s", store, error)
        return False


def _own(store: AnyPath) -> dict[str, Any]:
    """What a store says of itself; empty if that cannot be read now."""
    try:
        return own_attributes(store)
    except (OSError, ServiceError, UsageError):
        return {}

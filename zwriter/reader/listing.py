"""The scans below a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from zwriter.errors import StoreError, UsageError
from zwriter.objects import AnyPath, ObjectPath, contents, each, place
from zwriter.reader.abandoned import abandoned
from zwriter.reader.commits import DeviceCommit, commit_in
from zwriter.reader.location import Location
from zwriter.reader.scan import is_of_others, scan_attributes
from zwriter.store.disk import raised, walk
from zwriter.store.layout import DEVICES

# what comes of documents that are JSON and say something else than they should
_DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


class Found(NamedTuple):
    """A scan store, and the name of the master file beside it, if there is one."""

    path: AnyPath
    master: str | None


def find_stores(root: AnyPath, refused: Callable[[OSError], None]) -> Iterator[AnyPath]:
    """The scan stores below `root`, in order of path; folders inside a store are not looked at.

    refused: is told of folders on a disk that cannot be read.
    """
    return (found.path for found in find_scans(root, refused))


def find_scans(root: AnyPath, refused: Callable[[OSError], None] = raised) -> Iterator[Found]:
    """The same with their master files."""
    if isinstance(root, ObjectPath):
        yield from _in_bucket(root)
        return
    masters: dict[Path, dict[str, str]] = {}
    for folder, names, files in walk(root, refused, links=True):
        names.sort()
        masters[folder] = masters_of(files)
        if folder.suffix == ".zarr" and "zarr.json" in files:
            names.clear()
            yield Found(folder, masters.get(folder.parent, {}).get(folder.stem))
        names[:] = [name for name in names if not name.startswith(".")]


def _in_bucket(root: ObjectPath) -> list[Found]:
    if root.suffix == ".zarr":
        return [Found(root, None)]
    below = root.folders_named(".zarr", beside=".h5")
    found = _grouped(root, *below) if below else _walked(root)
    return sorted(found, key=lambda scan: str(scan.path))


def _grouped(
    root: ObjectPath, stores: list[ObjectPath], files: list[ObjectPath]
) -> Iterator[Found]:
    """All stores, and what lies beside them, by few listings."""
    names: dict[str, list[str]] = {}
    for file in files:
        names.setdefault(str(file.parent), []).append(file.name)
    masters = {folder: masters_of(there) for folder, there in names.items()}
    for store in stores:
        folders = str(store).removeprefix(f"{root}/").split("/")[:-1]
        if store.suffix == ".zarr" and not any(map(_is_left_out, folders)):
            yield Found(store, masters.get(str(store.parent), {}).get(store.stem))


def _walked(root: ObjectPath) -> Iterator[Found]:
    """By one listing a folder that is no store."""
    level = [root]
    while level:
        below = []
        for folder, inside in zip(level, each(root, contents, level), strict=True):
            masters = masters_of(name for name, is_folder in inside.items() if not is_folder)
            for path in (folder / name for name, is_folder in inside.items() if is_folder):
                if path.suffix == ".zarr":
                    yield Found(path, masters.get(path.stem))
                elif not _is_left_out(path.name):
                    below.append(path)
        level = below


def _is_left_out(folder: str) -> bool:
    """Whether nobody looks for scans there: hidden folders, and those beside stores."""
    return folder.startswith(".") or folder.endswith(".zwriter")


def masters_of(files: Iterable[str]) -> dict[str, str]:
    """<base> -> <base>_master.h5, or else the first <base>_master_<suffix>.h5."""
    masters = {}
    for name in sorted(files, reverse=True):
        base, marked, rest = name.rpartition("_master")
        if marked and rest.endswith(".h5") and rest[0] in "._":
            masters[base] = name
    return masters


def listing(
    root: str | AnyPath, *, storage_options: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """One line a scan store below `root`, for `zwriter ls`: what its root document and commits say.

    `rows` and `missing` are sums over all signals. What only looks like a store, and what cannot be
    read, be it a store or a folder, has an `error`, and `readable` says which of both it is.
    Raises UsageError if there is no such folder.
    """
    folder = place(root, storage_options)
    refused: list[OSError] = []
    stores = list(find_stores(folder, refused.append))
    if not stores and not refused and not folder.is_dir():
        raise UsageError(f"{root} is no folder")
    lines = [line for line in each(folder, _line, stores) if line]
    return lines + [_failed(error.filename, error) for error in refused]


def _line(path: AnyPath) -> dict[str, Any] | None:
    """None where there is no root document (yet): not a store."""
    try:
        documents = scan_documents(path)
        commits = documents.commits() if documents else {}
    except (StoreError, OSError, *_DAMAGE) as error:
        return _failed(path, error)
    if documents is None:
        return None
    signals = [s for commit in commits.values() if commit for s in commit.signals.values()]
    names = ("scan_id", "scan_number", "status", "verdict", "finished", "start_time", "end_time")
    return {
        "path": str(path),
        **{name: documents.root.get(name) for name in names},
        "abandoned": None if documents.root.get("finished") else abandoned(documents.location),
        "devices": len(commits),
        "rows": sum(signal.rows for signal in signals),
        "missing": sum(signal.ledger.missing for signal in signals),
    }


def _failed(path: AnyPath | str, error: Exception) -> dict[str, Any]:
    told = isinstance(error, StoreError | OSError)
    text = str(error) if told else f"damaged: {type(error).__name__}: {error}"
    return {"path": str(path), "error": text, "readable": not isinstance(error, OSError)}


@dataclass(frozen=True, slots=True)
class ScanDocuments:
    """What can be known of a scan by its documents.

    root: what the root group says of the scan; nodes: the documents below it by their names, those
    of all devices, and of a finished scan all others too.
    """

    location: Location
    root: dict[str, Any]
    nodes: dict[str, dict[str, Any]]

    def commits(self) -> dict[str, DeviceCommit | None]:
        """The commits of all devices. Raises StoreError if one is damaged."""
        commits = {}
        for node, document in self.nodes.items():
            folder, _, device = node.rpartition("/")
            if folder == DEVICES:
                commits[device] = commit_in(
                    document.get("attributes", {}), f"{self.location}/{node}"
                )
        return commits


def scan_documents(path: AnyPath) -> ScanDocuments | None:
    """By one read if the scan is finished, by one more a device if it is not; None where there is
    no root document, or one of a program that is not zwriter. Raises StoreError if it is damaged.
    """
    location = Location(path)
    document = location.metadata("")
    if document is None or is_of_others(document):
        return None
    root = scan_attributes(document, location)
    nodes = (document.get("consolidated_metadata") or {}).get("metadata")
    if nodes is None:
        devices = [f"{DEVICES}/{name}" for name in location.folders(DEVICES)]
        nodes = {node: location.metadata(node) or {} for node in devices}
    return ScanDocuments(location, root, nodes)

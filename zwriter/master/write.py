"""A description of a master file, put on disk: whole and checked, or not at all."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import h5py
import hdf5plugin  # noqa: F401  (registers the Blosc filter)
import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError, UsageError
from zwriter.failpoint import failpoint
from zwriter.master.arrays import ArrayWriter
from zwriter.master.copy import TEXT, plain, set_attributes, text, write_rows
from zwriter.master.layouts.reference import reference_tree
from zwriter.master.places import landing, links_from
from zwriter.master.tree import (
    Dataset,
    ExternalLink,
    Group,
    Node,
    Rows,
    SoftLink,
    StoredArray,
    Table,
)
from zwriter.master.verify import verify_file
from zwriter.objects import AnyPath, ObjectPath, place
from zwriter.reader import open_scan
from zwriter.reader.verify.master import is_ours
from zwriter.settings import MasterMode, MasterSettings

log = logging.getLogger(__name__)

_PAGE = 64 * 1024
_ERRNO = re.compile(r"\berrno = (\d+)")  # in what HDF5 says


def write_master(
    store: str | AnyPath,
    out: str | AnyPath,
    *,
    mode: MasterMode | None = None,
    settings: MasterSettings | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write the HDF5/NeXus master file of a finished scan to `out`, a path or an `s3://` URL,
    replacing one that is there.

    mode: `reference` links to the store's arrays, `copy` makes a file that needs nothing else,
    `auto` copies what is smaller than `settings.copy_below`; default: as the settings say. From a
    bucket, which HDF5 cannot read, it is `link` instead of `reference`: arrays stay there, the file
    has their URLs, and links that work once the scan's folder is mirrored to a disk.
    storage_options: as in `open_scan`, of both places.
    Raises UsageError if the scan is not finished, `out` is a folder, in the store or a file that is
    no master file of zwriter, or the mode is none for these places; StoreError if the store is
    damaged or `out` cannot be written; then whatever was at `out` is still there.
    """
    settings = settings or MasterSettings()
    mode = mode or settings.mode
    if str(out).endswith(("/", ".zarr")):
        raise UsageError(f"{out} is no name of an HDF5 file; give one, as scan.h5")
    path, out = place(store, storage_options), place(out, storage_options)
    if isinstance(out, ObjectPath) and not out.key:
        raise UsageError(f"{out} is a bucket; give the name of an object in it, as scan.h5")
    if isinstance(path, Path):
        path = path.resolve()
    if isinstance(out, Path):  # links are relative: both paths without symlinks
        out = out.parent.resolve() / out.name
    folder = links_from(path, out, mode)
    check_mode(path, mode)
    _check_out(path, out, mode)
    scan = open_scan(path)
    if not scan.finished:
        why = scan.abandoned or "export it when it is"
        raise UsageError(f"{store}: the scan is not finished; {why}")
    tree = reference_tree(scan, out, folder, settings)
    below = {"auto": settings.copy_below, "copy": math.inf}.get(mode, 0)
    stored = ArrayWriter(tree, path, folder, below)
    try:
        with landing(out) as part:
            with (
                closing(stored),
                h5py.File(
                    part, "w", libver=("v110", "v110"), fs_strategy="page", fs_page_size=_PAGE
                ) as file,
            ):
                _Writer(stored).fill(file, tree)
            failpoint("master.written")
            verify_file(part, tree, folder)
            failpoint("master.verified")
    except Exception as error:
        refused = _refusal_of_disk(error)
        if refused is None:
            raise
        raise StoreError(f"{out} cannot be written: {refused}") from refused


def _refusal_of_disk(error: Exception) -> OSError | None:
    """What the disk said; HDF5 raises it as RuntimeError, too, where a file is closed."""
    if isinstance(error, OSError):
        return error
    told = _ERRNO.search(str(error))
    return OSError(int(told[1]), os.strerror(int(told[1]))) if told else None


def check_mode(where: AnyPath, mode: MasterMode) -> None:
    """Raises UsageError if scans there, or below it, have no master file of this mode."""
    if mode not in get_args(MasterMode):
        raise UsageError(f"mode {mode!r}: there are {', '.join(get_args(MasterMode))}")
    if isinstance(where, ObjectPath) and mode == "reference":
        raise UsageError(f"{where}: master files of a bucket have mode link, not reference")
    if isinstance(where, Path) and mode == "link":
        raise UsageError(f"{where}: master files of a disk have mode reference, not link")


def _check_out(store: AnyPath, out: AnyPath, mode: MasterMode) -> None:
    if isinstance(store, Path) and isinstance(out, ObjectPath) and mode == "reference":
        raise UsageError(f"{out} cannot refer to what is on a disk; export it with mode copy")
    if isinstance(out, Path) and out.is_dir():
        raise UsageError(f"{out} is a folder; give the name of a file")
    if f"{out}/".startswith(f"{store}/"):
        raise UsageError(f"{out} is in the store, where only Zarr belongs; give another folder")
    if not may_be_replaced(out):
        what = "damaged, or no HDF5 file" if is_ours(out) is None else "no master file of zwriter"
        raise UsageError(f"{out} is there, and is {what}; remove it, or give another name")


def may_be_replaced(out: AnyPath) -> bool:
    """Whether there is nothing, or a master file of zwriter."""
    try:
        return bool(is_ours(out))
    except (FileNotFoundError, NotADirectoryError):
        return True


class _Writer:
    """Puts nodes into a file, stored arrays as it was decided for each."""

    def __init__(self, stored: ArrayWriter) -> None:
        self._stored = stored

    def fill(self, group: h5py.Group, node: Group) -> None:
        set_attributes(group, node.attrs)
        for name, child in node.children.items():
            self._put(group, name, child)

    def _put(self, group: h5py.Group, name: str, node: Node) -> None:
        match node:
            case Group():
                self.fill(group.create_group(name), node)
            case SoftLink(target):
                group[name] = h5py.SoftLink(text(target))
            case ExternalLink(file, target):
                try:
                    group[name] = h5py.ExternalLink(text(file), text(target))
                except ValueError as error:  # it must not cost all others their file
                    log.error("%s/%s: is not linked: %s", group.name, name, error)
            case Dataset(data, attrs):
                set_attributes(_create(group, name, data), attrs)
            case Table(columns, attrs):
                set_attributes(_create_table(group, name, columns), attrs)
            case Rows():
                set_attributes(write_rows(group, name, node), node.attrs)
            case StoredArray():
                self._stored.put(group, name)


def _create(group: h5py.Group, name: str, data: Any) -> h5py.Dataset:
    if isinstance(data, str):
        return group.create_dataset(name, data=text(data), dtype=TEXT)
    return group.create_dataset(
        name, data.shape, TEXT if data.dtype.kind == "T" else data.dtype, data=plain(data)
    )


def _create_table(
    group: h5py.Group, name: str, columns: Mapping[str, NDArray[Any]]
) -> h5py.Dataset:
    values = {key: plain(column) for key, column in columns.items()}
    kinds = [(key, TEXT if v.dtype.kind == "O" else v.dtype) for key, v in values.items()]
    table = np.empty(len(next(iter(values.values()))), kinds)
    for key, column in values.items():
        table[key] = column
    return group.create_dataset(name, data=table)

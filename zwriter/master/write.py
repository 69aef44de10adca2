"""A description of a master file, put on disk: whole and checked, or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import h5py
import hdf5plugin  # noqa: F401  (registers the Blosc filter)
import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError, UsageError
from zwriter.failpoint import failpoint
from zwriter.master.chunks import StoredChunks
from zwriter.master.copy import TEXT, copy_chunks, copy_values, plain, text, write_rows
from zwriter.master.layouts.reference import reference_tree
from zwriter.master.refer import reference, sentinel
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
from zwriter.objects import AnyPath, place
from zwriter.reader import open_scan
from zwriter.settings import MasterSettings
from zwriter.store.disk import sync_folder

Mode = Literal["reference", "copy", "auto"]
_PAGE = 64 * 1024


def write_master(
    store: str | AnyPath,
    out: str | Path,
    *,
    mode: Mode | None = None,
    settings: MasterSettings | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write the HDF5/NeXus master file of a finished scan to `out`, replacing what is there.

    mode: `reference` links to the store's arrays, `copy` makes a file that needs nothing else,
    `auto` copies what is smaller than `settings.copy_below`; default: as the settings say. HDF5
    cannot link into a bucket: from there `auto` copies everything. storage_options: as in
    `open_scan`.
    Raises UsageError if the scan is not finished, `out` is a folder or in the store, or a link
    into a bucket was asked for; StoreError if the store is damaged or `out` cannot be written; then
    whatever was at `out` is still there.
    """
    settings = settings or MasterSettings()
    mode = mode or settings.mode
    path = place(store, storage_options)
    if isinstance(path, Path):
        path = path.resolve()
    elif mode == "reference":
        raise UsageError(f"{path}: HDF5 cannot link into a bucket; export it with mode copy")
    out = Path(out)
    out = out.parent.resolve() / out.name  # links are relative: both paths without symlinks
    scan = open_scan(path)
    if not scan.finished:
        raise UsageError(f"{store}: the scan is not finished; export it when it is")
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give the name of a file")
    if isinstance(path, Path) and out.is_relative_to(path):
        raise UsageError(f"{out} is in the store, where only Zarr belongs; give another folder")
    tree = reference_tree(scan, out, settings)
    below = {"reference": 0, "copy": None, "auto": settings.copy_below}[mode]
    if not isinstance(path, Path):
        below = None
    part = out.with_name(f"{out.name}.{uuid4().hex[:8]}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f"{escape(out.name)}.*.part"):  # by who died over it
            left.unlink(missing_ok=True)
        with h5py.File(
            part, "w", libver=("v110", "v110"), fs_strategy="page", fs_page_size=_PAGE
        ) as file:
            _Writer(out, below).fill(file, tree)
        failpoint("master.written")
        verify_file(part, tree)
        failpoint("master.verified")
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(out)
        failpoint("master.renamed")
        sync_folder(out.parent)
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


class _Writer:
    """Puts nodes into a file that will lie at `out`. Arrays smaller than `copy_below` are copied,
    all of them if it is None."""

    def __init__(self, out: Path, copy_below: int | None) -> None:
        self._out, self._copy_below = out, copy_below

    def fill(self, group: h5py.Group, node: Group) -> None:
        _set_attributes(group, node.attrs)
        for name, child in node.children.items():
            self._put(group, name, child)

    def _put(self, group: h5py.Group, name: str, node: Node) -> None:
        match node:
            case Group():
                self.fill(group.create_group(name), node)
            case SoftLink(target):
                group[name] = h5py.SoftLink(text(target))
            case ExternalLink(file, target):
                group[name] = h5py.ExternalLink(text(file), text(target))
            case Dataset(data, attrs):
                _set_attributes(_create(group, name, data), attrs)
            case Table(columns, attrs):
                _set_attributes(_create_table(group, name, columns), attrs)
            case Rows():
                _set_attributes(write_rows(group, name, node), node.attrs)
            case StoredArray():
                self._put_stored(group, name, node)

    def _put_stored(self, group: h5py.Group, name: str, node: StoredArray) -> None:
        chunks = StoredChunks.of(node)
        copied = self._copy_below is None or node.array.nbytes < self._copy_below
        if chunks is None:
            dataset = copy_values(group, name, node.array)
        elif copied or (refers_to := reference(chunks, self._out)) is None:
            dataset = copy_chunks(group, name, chunks)
        elif isinstance(refers_to, h5py.ExternalLink):
            group[name] = refers_to  # the dataset is the shard's, and so are its attributes
            return
        else:
            fill = sentinel(node.array.dtype)
            dataset = group.create_virtual_dataset(name, refers_to, fillvalue=fill)
        _set_attributes(dataset, node.attrs)


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


def _set_attributes(node: h5py.Group | h5py.Dataset, attrs: Mapping[str, Any]) -> None:
    for name, value in attrs.items():
        node.attrs[name] = text(value) if isinstance(value, str) else value

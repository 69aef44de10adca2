"""Is a master file what it was meant to be? Everything in it is opened, links and sources too."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
from h5py import h5d, h5f, h5p

from zwriter.errors import StoreError
from zwriter.master.tree import Dataset, ExternalLink, Group, Node, Rows, StoredArray, Table, walk


def verify_file(path: Path, tree: Group) -> None:
    """Raises StoreError with the first thing that is missing or not as described."""
    # no lock: a process that was forked while the file was written may still hold that one
    with h5py.File(path, "r", locking=False) as file:
        for name, node in walk(tree):
            problem = _problem(file, name, node, path.parent)
            if problem:
                raise StoreError(f"{path}: {name}: {problem}")


def _problem(file: h5py.File, name: str, node: Node, folder: Path) -> str | None:
    if isinstance(node, ExternalLink):
        return None if (folder / node.file).exists() else f"{node.file} is missing"
    link = file.get(name, getlink=True)
    expected = _shape(node)
    if expected is None:
        return "is missing" if link is None else None
    try:
        dataset = file[name]
        if dataset.shape != expected:
            return f"has shape {dataset.shape}, the store has {expected}"
        return _source_problem(dataset, folder) if dataset.is_virtual else None
    except (KeyError, OSError) as error:
        at = f"{link.filename}: " if isinstance(link, h5py.ExternalLink) else ""
        return f"cannot be opened: {at}{error}"


def _source_problem(dataset: h5py.Dataset, folder: Path) -> str | None:
    """What HDF5 would hide: it reads lost sources of a virtual dataset as fill values."""
    access = h5p.create(h5p.FILE_ACCESS)  # there may be many sources: h5py.File takes twice as long
    access.set_file_locking(False, False)
    layout = dataset.id.get_create_plist()
    for number in range(layout.get_virtual_count()):
        first, last = layout.get_virtual_vspace(number).get_select_bounds()
        needed = tuple(end - start + 1 for start, end in zip(first, last, strict=True))
        name = layout.get_virtual_filename(number)
        file = h5f.open(os.fsencode(folder / name), h5f.ACC_RDONLY, access)
        there = h5d.open(file, layout.get_virtual_dsetname(number).encode()).shape
        if there != needed:
            return f"{name} has shape {there} instead of {needed}"
    return None


def _shape(node: Node) -> tuple[int, ...] | None:
    match node:
        case Dataset(data):
            return () if isinstance(data, str) else data.shape
        case Table(columns):
            return next(iter(columns.values())).shape
        case Rows(rows):
            return (len(rows),)
        case StoredArray(_, array):
            return array.shape
    return None

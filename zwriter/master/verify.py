"""Is a master file what it was meant to be? Everything in it is opened, links and sources too."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
from h5py import h5d, h5f, h5p

from zwriter.errors import StoreError
from zwriter.master.arrays import URL
from zwriter.master.tree import Dataset, ExternalLink, Group, Node, Rows, StoredArray, Table, walk
from zwriter.objects import AnyPath, ObjectPath
from zwriter.reader.verify.sources import Source, object_problems, sources_of
from zwriter.store.shard_index import METADATA_BYTES, USER_BLOCK


def verify_file(path: Path, tree: Group, folder: AnyPath | None) -> None:
    """folder: what links into the store lead from, None if there are none.

    Raises StoreError with the first thing that is missing or not as described.
    """
    # no lock: a process that was forked while the file was written may still hold that one
    with h5py.File(path, "r", locking=False) as file:
        elsewhere: list[Source] = []
        for name, node in walk(tree):
            if (sources := _in_bucket(file, name, node)) is not None:
                elsewhere += sources
            elif problem := _problem(file, name, node, path.parent):
                raise StoreError(f"{path}: {name}: {problem}")
    if isinstance(folder, ObjectPath):
        for problem in object_problems(folder, elsewhere):
            raise StoreError(f"{path}: {problem}")


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


def _in_bucket(file: h5py.File, name: str, node: Node) -> list[Source] | None:
    """The objects in which an array lies that is not in the file; None for all that is."""
    group, _, _ = name.rpartition("/")
    link = file.get(name, getlink=True)
    if not isinstance(node, StoredArray) or URL not in file[group].attrs:
        return None
    if isinstance(link, h5py.ExternalLink):
        return [Source(name, link.filename, link.path, node.array.shape)]
    if link is None:
        return []
    return list(sources_of(file[name])) if file[name].is_virtual else None


def _source_problem(dataset: h5py.Dataset, folder: Path) -> str | None:
    """What HDF5 would hide: it reads lost sources of a virtual dataset as fill values."""
    access = h5p.create(h5p.FILE_ACCESS)  # there may be many sources: h5py.File takes twice as long
    access.set_file_locking(False, False)
    found: set[tuple[bytes, int, str, tuple[int, ...] | None]] = set()
    for source in sources_of(dataset):
        path = os.fsencode(folder / source.file)
        known = (*_header(path), source.dataset, source.shape)
        if known in found:  # HDF5 would read the same bytes once more
            continue
        there = h5d.open(h5f.open(path, h5f.ACC_RDONLY, access), source.dataset.encode()).shape
        if there != source.shape:
            return f"{source.file} has shape {there} instead of {source.shape}"
        found.add(known)
    return None


def _header(path: bytes) -> tuple[bytes, int]:
    """All that HDF5 reads of a shard file to open its dataset, and the file's size."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, METADATA_BYTES, USER_BLOCK), os.fstat(fd).st_size
    finally:
        os.close(fd)


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

"""The files that the arrays of a master file lie in, and a look at those that are in a bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import h5py

from zwriter.objects import ObjectPath, ahead
from zwriter.store.shard_index import FIRST_CHUNK

Shape = tuple[int, ...]


class Source(NamedTuple):
    """What `name` in a master file refers to: a dataset in a file, relative to the folder of the
    master file, and the shape it should have; None if the master file does not tell."""

    name: str
    file: str
    dataset: str
    shape: Shape | None


def sources_of(virtual: h5py.Dataset) -> Iterator[Source]:
    """The sources of a virtual dataset, in order."""
    layout = virtual.id.get_create_plist()
    for number in range(layout.get_virtual_count()):
        first, last = layout.get_virtual_vspace(number).get_select_bounds()
        shape = tuple(end - start + 1 for start, end in zip(first, last, strict=True))
        file, dataset = layout.get_virtual_filename(number), layout.get_virtual_dsetname(number)
        yield Source(virtual.name, file.replace("%%", "%"), dataset, shape)


def object_problems(folder: ObjectPath, sources: Sequence[Source]) -> Iterator[str]:
    """Which of the sources, objects below `folder`, are missing, cut off, no HDF5 files, or of
    another shape; by their first bytes."""
    heads = ahead((FIRST_CHUNK, partial(_head, folder / source.file)) for source in sources)
    for source, head in zip(sources, heads, strict=True):
        where = f"{source.name}: {folder / source.file}"
        if head is None:
            yield f"{where} is missing"
            continue
        try:
            there = _shape(source.dataset, *head)
        except (OSError, KeyError) as error:
            yield f"{where} is no whole HDF5 file: {error}"
            continue
        if source.shape not in (None, there):
            yield f"{where} has shape {there} instead of {source.shape}"


def _head(path: ObjectPath) -> tuple[bytes, int] | None:
    try:
        return path.read_start(FIRST_CHUNK)
    except FileNotFoundError:
        return None
    except OSError:  # it is empty
        return b"", 0


def _shape(dataset: str, head: bytes, size: int) -> Shape:
    """Of a dataset in a shard that begins so: there is its metadata, and HDF5 compares the size."""
    with tempfile.TemporaryFile() as file:
        file.write(head)
        file.truncate(size)  # sparse: no block of the disk is used for it
        with h5py.File(file, "r") as shard:
            shape: Shape = shard[dataset].shape
            return shape

"""Arrays of the store referred to from an HDF5 file: sealed shard files are HDF5 files too."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import h5py
import numpy as np
from h5py import h5s

from zwriter.master.chunks import StoredChunks
from zwriter.objects import AnyPath

# HDF5 keeps each source open; beyond the limit of open files it reads fill values
MAX_SOURCES = 200
DATA = "/data"

Reference: TypeAlias = h5py.ExternalLink | h5py.VirtualLayout


def reference(chunks: StoredChunks, folder: AnyPath) -> Reference | None:
    """What refers to the array from a file in `folder`: a link to its one shard, or a virtual
    dataset.

    None where that cannot be: it has no shards or too many of them, or chunks are missing, which
    HDF5 would read as zeros.
    """
    files = chunks.files
    if chunks.per_shard is None or len(files) > MAX_SOURCES or not chunks.complete():
        return None
    names = [os.path.relpath(str(path), str(folder)) for path in files]
    if len(names) == 1:
        return h5py.ExternalLink(names[0], DATA)
    shape, dtype = chunks.source.array.shape, chunks.source.array.dtype
    if sentinel(dtype) is None:
        return None
    layout = h5py.VirtualLayout(shape, dtype, maxshape=(None, *shape[1:]))
    start, target = (0,) * len(shape), h5s.create_simple(shape)
    for name, rows in zip(names, shard_rows(chunks), strict=True):  # VirtualSource is slow
        size = (rows.stop - rows.start, *shape[1:])
        target.select_hyperslab((rows.start, *start[1:]), size)
        file = os.fsencode(name).replace(b"%", b"%%")  # HDF5 takes it for a format
        layout.dcpl.set_virtual(target, file, DATA.encode(), h5s.create_simple(size))
    return layout


def shard_rows(chunks: StoredChunks) -> list[slice]:
    """The rows of each shard."""
    rows, step = chunks.source.array.shape[0], chunks.chunk[0] * (chunks.per_shard or 1)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def sentinel(dtype: np.dtype[Any]) -> Any:
    """What a virtual dataset shows where a source is lost: NaN, or the largest integer."""
    if dtype.kind in "fc":
        return dtype.type(np.nan)
    return np.iinfo(dtype).max if dtype.kind in "iu" else None

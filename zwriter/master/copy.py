"""Arrays copied into an HDF5 file, in blocks; chunks of the store are passed on as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import fill_value
from zwriter.master.chunks import Opener, StoredChunks
from zwriter.master.tree import Rows
from zwriter.reader.lazy import LazyArray

TEXT = h5py.string_dtype("utf-8")
_BLOCK_BYTES = 16 * 1024 * 1024
_BLOCK_ROWS = 65536


def copy_chunks(
    group: h5py.Group, name: str, chunks: StoredChunks, open_file: Opener
) -> h5py.Dataset:
    """The array with the very chunks of the store, neither decoded nor encoded."""
    shape, dtype = chunks.source.array.shape, chunks.source.array.dtype
    dataset = group.create_dataset(
        name,
        shape,
        dtype,
        maxshape=(None, *shape[1:]),
        chunks=chunks.chunk,
        fillvalue=fill_value(dtype),
        **chunks.hdf5_filter,
    )
    for number, data in chunks.read(open_file):
        origin = (number * chunks.chunk[0], *(0 for _ in shape[1:]))
        dataset.id.write_direct_chunk(origin, data)
    return dataset


def copy_values(group: h5py.Group, name: str, array: LazyArray) -> h5py.Dataset:
    """The array's values, for what HDF5 encodes in another way."""
    dtype = TEXT if array.dtype.kind == "T" else array.dtype
    dataset = group.create_dataset(name, array.shape, dtype)
    if not array.shape:
        dataset[()] = plain(np.asarray(array, array.dtype))[()]
        return dataset
    start = 0
    for block in array.blocks():
        dataset[start : start + len(block)] = plain(block)
        start += len(block)
    return dataset


def write_rows(group: h5py.Group, name: str, node: Rows) -> h5py.Dataset:
    """A dataset of variable-length rows; rows of texts become JSON."""
    if node.dtype.kind == "T":
        texts = np.array([json.dumps(list(row)) for row in node.rows], object)
        return group.create_dataset(name, (len(node.rows),), TEXT, data=texts)
    dtype = h5py.vlen_dtype(node.dtype)
    dataset = group.create_dataset(name, (len(node.rows),), dtype)
    start, block, nbytes = 0, [], 0
    for row in node.rows:
        block.append(row)
        nbytes += row.nbytes
        if nbytes >= _BLOCK_BYTES or len(block) == _BLOCK_ROWS:
            _write_block(dataset, start, block)
            start, block, nbytes = start + len(block), [], 0
    if block:
        _write_block(dataset, start, block)
    return dataset


def _write_block(dataset: h5py.Dataset, start: int, rows: list[NDArray[Any]]) -> None:
    """By the low-level call: h5py makes a matrix of rows that happen to have equal lengths."""
    block = np.empty(len(rows), dataset.dtype)
    for i, row in enumerate(rows):
        block[i] = np.ascontiguousarray(row)
    there = dataset.id.get_space()
    there.select_hyperslab((start,), block.shape)
    dataset.id.write(h5py.h5s.create_simple(block.shape), there, block)


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """An array as h5py takes it: texts as objects that HDF5 can hold."""
    if array.dtype.kind not in "TO":
        return array
    return np.array([text(item) for item in array.ravel()], object).reshape(array.shape)


def text(value: str) -> str:
    """`value` without NUL, which ends a text in HDF5."""
    return value.replace("\0", "\\0")


def set_attributes(node: h5py.Group | h5py.Dataset, attrs: Mapping[str, Any]) -> None:
    for name, value in attrs.items():
        node.attrs[name] = text(value) if isinstance(value, str) else value

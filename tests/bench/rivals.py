"""What else writes such data. Each returns messages a second, from nothing to a closed file.

Chunks and shards are zwriter's sizes: chunks of about 2 MiB, shards of 64 MiB in the formats that
have them. What can buffer buffers a shard.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import acquire_zarr
import h5py
import hdf5plugin
import numpy as np
import tensorstore
import zarr

from tests.bench.sizes import MiB
from tests.bench.work import Kind
from zwriter.settings import Codec

Rival = Callable[[Path, Kind, int, Codec], float]

_CHUNK = 2 * MiB
_SHARD = 64 * MiB


def plain_file(folder: Path, kind: Kind, count: int, codec: Codec = "none") -> float:
    """A write a message, through Python's own buffer."""
    assert codec == "none"
    began = time.perf_counter()
    with (folder / "plain").open("wb", buffering=MiB) as file:
        for i in range(count):
            file.write(kind.value(i))
    return count / (time.perf_counter() - began)


def h5py_as_bec(folder: Path, kind: Kind, count: int, codec: Codec = "none") -> float:
    """resize, write and flush a message, as BEC's writer does at the pace of a live scan."""
    options: dict[str, Any] = (
        {} if codec == "none" else dict(hdf5plugin.Blosc(cname=codec, shuffle=2))
    )
    began = time.perf_counter()
    with h5py.File(folder / "rows.h5", "w") as file:
        data = file.create_dataset(
            "value",
            (0, *kind.shape),
            kind.dtype,
            maxshape=(None, *kind.shape),
            chunks=_chunk_shape(kind),
            **options,
        )
        for i in range(count):
            end = data.shape[0] + kind.block
            data.resize(end, axis=0)
            data[end - kind.block : end] = kind.value(i)
            file.flush()
    return count / (time.perf_counter() - began)


def zarr_append(folder: Path, kind: Kind, count: int, codec: Codec = "none") -> float:
    """zarr-python's `append`, a message each."""
    return _zarr(folder, kind, count, codec, 1)


def zarr_buffered(folder: Path, kind: Kind, count: int, codec: Codec = "none") -> float:
    """zarr-python's `append`, a shard each."""
    return _zarr(folder, kind, count, codec, _shard_rows(kind) // kind.block)


def _zarr(folder: Path, kind: Kind, count: int, codec: Codec, step: int) -> float:
    compressors = (
        None
        if codec == "none"
        else zarr.codecs.BloscCodec(
            cname=codec, clevel=5, shuffle="bitshuffle", typesize=kind.dtype.itemsize
        )
    )
    began = time.perf_counter()
    array = zarr.create_array(
        folder / "rows.zarr",
        shape=(0, *kind.shape),
        dtype=kind.dtype,
        chunks=_chunk_shape(kind),
        shards=(_shard_rows(kind), *kind.shape),
        compressors=compressors,
        filters=None,
    )
    for first in range(0, count, step):
        array.append(kind.rows(first, min(step, count - first)))
    return count / (time.perf_counter() - began)


def tensorstore_buffered(folder: Path, kind: Kind, count: int, codec: Codec = "none") -> float:
    """tensorstore, a resize and a write a shard; the writes run side by side."""
    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    if codec != "none":
        blosc = {
            "cname": codec,
            "clevel": 5,
            "shuffle": "bitshuffle",
            "typesize": kind.dtype.itemsize,
        }
        codecs.append({"name": "blosc", "configuration": {**blosc, "blocksize": 0}})
    sharding = {"chunk_shape": _chunk_shape(kind), "codecs": codecs}
    rows = _shard_rows(kind)
    step = rows // kind.block
    began = time.perf_counter()
    store = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(folder / "rows.zarr"), "file_io_sync": False},
            "metadata": {
                "shape": [0, *kind.shape],
                "chunk_grid": {
                    "name": "regular",
                    "configuration": {"chunk_shape": [rows, *kind.shape]},
                },
                "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
                "data_type": kind.dtype.name,
            },
            "create": True,
        }
    ).result()
    pending: list[Any] = []
    for first in range(0, count, step):
        block = kind.rows(first, min(step, count - first))
        start = first * kind.block
        store = store.resize(exclusive_max=[start + len(block), *kind.shape]).result()
        pending.append(store[start : start + len(block)].write(block))
        if len(pending) > 2:
            pending.pop(0).result()
    for write in pending:
        write.result()
    return count / (time.perf_counter() - began)


def acquire(folder: Path, kind: Kind, count: int, codec: Codec = "none") -> float:
    """acquire-zarr, an append a message. It syncs each shard, which cannot be turned off.

    Its threads wait for each other when rows are small and cores are busy: one is faster then.
    """
    array = acquire_zarr.ArraySettings(
        dimensions=_acquire_dimensions(kind),
        data_type=kind.dtype,
        compression=_acquire_codec(codec),
    )
    stream = acquire_zarr.StreamSettings(
        arrays=[array],
        store_path=str(folder / "rows.zarr"),
        overwrite=True,
        max_threads=0 if kind.nbytes > MiB else 1,
    )
    began = time.perf_counter()
    writer = acquire_zarr.ZarrStream(stream)
    for i in range(count):
        writer.append(np.asarray(kind.value(i)))
    writer.close()
    return count / (time.perf_counter() - began)


def _acquire_dimensions(kind: Kind) -> list[Any]:
    """acquire-zarr wants three dimensions at least: a row is an image."""
    kinds = acquire_zarr.DimensionType
    rows = _chunk_shape(kind)[0]
    per_shard = _shard_rows(kind) // rows
    image = (1, *kind.shape)[-2:] if kind.block == 1 else (1, kind.block)
    if kind.block > 1:
        rows //= kind.block
    first = acquire_zarr.Dimension(
        name="t", kind=kinds.TIME, array_size_px=0, chunk_size_px=rows, shard_size_chunks=per_shard
    )
    others = [
        acquire_zarr.Dimension(
            name=name, kind=kinds.SPACE, array_size_px=size, chunk_size_px=size, shard_size_chunks=1
        )
        for name, size in zip("yx", image, strict=True)
    ]
    return [first, *others]


def _acquire_codec(codec: Codec) -> Any:
    if codec == "none":
        return None
    return acquire_zarr.CompressionSettings(
        compressor=acquire_zarr.Compressor.BLOSC1,
        codec=acquire_zarr.CompressionCodec.BLOSC_LZ4,
        level=5,
        shuffle=2,
    )


def _chunk_shape(kind: Kind) -> tuple[int, ...]:
    """About 2 MiB, whole messages."""
    return (kind.messages_in(_CHUNK) * kind.block, *kind.shape)


def _shard_rows(kind: Kind) -> int:
    rows = _chunk_shape(kind)[0]
    return rows * (_SHARD // _CHUNK)


RIVALS: dict[str, Rival] = {
    "acquire-zarr": acquire,
    "tensorstore, a shard at once": tensorstore_buffered,
    "h5py resize + write + flush": h5py_as_bec,
    "zarr-python append, a shard at once": zarr_buffered,
    "zarr-python append": zarr_append,
}

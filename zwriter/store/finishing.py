"""What goes into a store when its scan is finished: the logs that lay beside it, and what was read
once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.settings import SignalSettings
from zwriter.store.codecs import codec_for
from zwriter.store.disk import make_folder, remove, replace_file, walk
from zwriter.store.framed import read_frames
from zwriter.store.layout import KEPT
from zwriter.store.record import ScanRecord
from zwriter.store.whole import WholeArray
from zwriter.store.zarr_json import array_json, chunk_key, group_json, write_json

LOG_CHUNK = 8 * 1024 * 1024  # bytes: a quarantine may have a gigabyte
_BYTE = np.dtype("u1")
_LONGEST_ARRAY = 64 * 1024  # bytes of one in an attribute


def store_log(tree: Path, log: Path) -> None:
    """A framed log as two arrays of the store `tree`: the bytes of all records, and where each
    begins."""
    group = f"{KEPT}/{log.name}"
    remove(tree / group)  # what was begun by a writer before us
    _write_group(tree / KEPT, {})
    _write_group(tree / group, {})
    offsets = np.cumsum([0, *map(len, read_frames(log))], dtype=np.int64)
    _store_bytes(tree / group / "value", read_frames(log), int(offsets[-1]), f"{log.name}_byte")
    whole = WholeArray(tree / group / "offsets", SignalSettings(), None)
    whole.write(offsets, [f"{log.name}_offset"], {})


def store_readings(tree: Path, record: ScanRecord) -> None:
    """Configuration, baseline and metadata, for people to read: the journal has them exactly, and
    alone what is in large arrays."""
    collection = tree / "entry/collection"
    _write_group(collection / "configuration", {"configuration": _plain(record.configuration)})
    _write_group(collection / "baseline", {"baseline": _plain(record.baseline)})
    _write_group(collection / "metadata", {"bec": _plain(record.info)})


def remove_leftovers(tree: Path) -> None:
    """Remove files that were being written when a writer before us died."""
    for folder, _, names in walk(tree):
        for name in names:
            if name.startswith("."):
                remove(folder / name)


def _write_group(folder: Path, attributes: dict[str, Any]) -> None:
    make_folder(folder)
    write_json(folder / "zarr.json", group_json({"NX_class": "NXcollection", **attributes}))


def _store_bytes(folder: Path, frames: Iterable[bytes], nbytes: int, dimension: str) -> None:
    codec, size = codec_for(_BYTE, SignalSettings()), max(1, min(nbytes, LOG_CHUNK))
    make_folder(folder)
    for number, chunk in enumerate(_chunks(frames, size)):
        path = folder / chunk_key(0, 1, number)
        make_folder(path.parent)
        replace_file(path, b"".join(codec.encode(np.frombuffer(chunk, _BYTE))))
    document = array_json(
        (nbytes,),
        _BYTE,
        chunk_grid=(size,),
        codecs=codec.zarr_json(),
        generation=0,
        dimension_names=[dimension],
        attributes={},
    )
    write_json(folder / "zarr.json", document)


def _chunks(frames: Iterable[bytes], size: int) -> Iterator[bytearray]:
    """The frames, one behind the other, cut in pieces of `size`; the last one is filled with
    zeros."""
    chunk, filled = bytearray(size), 0
    for frame in frames:
        rest = memoryview(frame)
        while rest:
            taken = min(len(rest), size - filled)
            chunk[filled : filled + taken] = rest[:taken]
            filled, rest = filled + taken, rest[taken:]
            if filled == size:
                yield chunk
                filled = 0
    if filled:
        chunk[filled:] = bytes(size - filled)
        yield chunk


def _plain(value: Any) -> Any:
    """`value` as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _plain_array(array: NDArray[Any]) -> Any:
    if array.nbytes > _LONGEST_ARRAY:
        return {"shape": list(array.shape), "dtype": str(array.dtype)}
    numbers = array.dtype.char in "efd" and np.isfinite(array).all()
    return array.tolist() if numbers or array.dtype.kind in "biu" else _plain(array.tolist())

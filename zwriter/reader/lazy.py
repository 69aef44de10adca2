"""Arrays that are read when they are asked for, and no further."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from zwriter.assemble import fill_value
from zwriter.errors import StoreError
from zwriter.store.array_state import dtype_from_json

BLOCK_BYTES = 16 * 1024 * 1024
_TRIES = 5
# What zarr-python raises for bytes that are cut off or do not fit their checksum.
UNREADABLE = (ValueError, RuntimeError, OSError, StoreError)


class Source(Protocol):
    """An array somewhere: `read` takes one int, slice of positive step, or integer array an axis.

    dims: names of the axes; attrs: units and the like; block_rows: how many rows are read at once,
    about 16 MiB of whole chunks.
    """

    name: str
    dims: tuple[str, ...]
    attrs: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    block_rows: int

    def read(self, key: tuple[Any, ...]) -> NDArray[Any]: ...


class InMemory:
    """An array that is here already."""

    def __init__(
        self, name: str, array: NDArray[Any], dims: tuple[str, ...], attrs: Mapping[str, Any] = {}
    ) -> None:
        self.name, self.array, self.dims, self.attrs = name, array, dims, attrs
        self.shape, self.dtype = array.shape, array.dtype
        self.block_rows = max(1, len(array)) if array.ndim else 1

    def read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        result = self.array
        for axis in reversed(range(len(key))):  # one by one: orthogonal, as zarr's oindex
            result = result[(slice(None),) * axis + (key[axis],)]
        return np.array(result, self.dtype)  # an item of strings is none of numpy's


class InStore:
    """An array of a Zarr store, of which `open_array` gives the part that is official.

    What was moved between a look at its index and at its chunks is read again.
    at_once: how many runs of chunks are read side by side, where that is quicker.
    """

    def __init__(
        self, name: str, open_array: Callable[[], zarr.Array[Any]], at_once: int = 1
    ) -> None:
        self.name, self._open, self._at_once = name, open_array, at_once
        self._array = open_array()
        self.attrs: Mapping[str, Any] = dict(self._array.attrs)
        self._record = _record_dtype(self.attrs)
        axes = self._array.ndim - (1 if self._record else 0)
        self.shape = self._array.shape[:axes]
        names = getattr(self._array.metadata, "dimension_names", None) or [""] * self._array.ndim
        self.dims = tuple(dim or f"dim_{axis}" for axis, dim in enumerate(names[:axes]))
        self.dtype = self._record or np.dtype(self._array.dtype)
        self.block_rows = _block_rows(self._array)

    def read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        try:
            found = self._read(key)
        except UNREADABLE:
            found = self._read_anew(key)
        return as_before(found, self.dtype)

    def _read_anew(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """As `read`, of the array opened anew; in ever smaller parts: the less is read, the less
        time is there for a writer to move it meanwhile.
        """
        tries = 0
        while True:
            try:
                self._array = self._open()
                return self._read(key)
            except UNREADABLE as error:
                tries += 1
                away = isinstance(error, OSError)  # the disk, or the server
                halves = [] if away or not key else _parts(key[0], self._array.chunks[0], 2)
                if len(halves) > 1:
                    return np.concatenate([self._read_anew((half, *key[1:])) for half in halves])
                if away or tries == _TRIES:
                    raise StoreError(
                        f"{self.name} cannot be read ({error}); "
                        "`zwriter verify` tells what is damaged"
                    ) from error

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        if self._record is not None:
            stored = self._select((*key, slice(None)))
            return np.ascontiguousarray(stored).view(self._record)[..., 0]
        return self._select(key)

    def _select(self, key: tuple[Any, ...]) -> NDArray[Any]:
        parts = _parts(key[0], self._array.chunks[0], self._at_once) if self.shape else []
        if len(parts) < 2:
            return self._select_part(key)
        with ThreadPoolExecutor(len(parts)) as pool:
            found = pool.map(lambda rows: self._select_part((rows, *key[1:])), parts)
            return np.concatenate(list(found))

    def _select_part(self, key: tuple[Any, ...]) -> NDArray[Any]:
        try:
            if any(isinstance(k, np.ndarray) for k in key):
                return np.asarray(self._array.get_orthogonal_selection(key))
            return np.asarray(self._array[key])
        except BaseExceptionGroup as group:  # of what newer versions read side by side
            raise _first(group) from group


def as_before(found: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers as they were before their array was promoted, where that was meanwhile."""
    if found.dtype == dtype or dtype.kind not in "biufc":
        return found
    if dtype.kind not in "fc":
        found = np.where(np.isnan(found), fill_value(dtype), found)
    return (found if dtype.kind == "c" else found.real).astype(dtype)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in a group; the group, if there is none but an interrupt."""
    for error in group.exceptions:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, Exception):
            return found
    return group


def _parts(rows: Any, chunk: int, most: int) -> list[slice]:
    """A slice in up to `most` parts, cut where chunks end; none for another kind of key."""
    if not isinstance(rows, slice) or rows.step not in (None, 1):
        return []
    first, count = rows.start // chunk, -(-rows.stop // chunk) - rows.start // chunk
    cuts = sorted({first + count * part // most for part in range(1, most)} - {first})
    edges = [rows.start, *(cut * chunk for cut in cuts), rows.stop]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _record_dtype(attrs: Mapping[str, Any]) -> np.dtype[Any] | None:
    """Records are stored as their bytes, along one more axis; None for any other array."""
    own = attrs.get("zwriter")
    return dtype_from_json(own["record"]) if own and "record" in own else None


class LazyArray:
    """An array of which only what is indexed is read: `a[5]`, `a[10:20, ::2]`, `a[[1, 7]]`, ...

    Indexing gives numpy arrays. Integer arrays and masks count along their own axis (as zarr's
    `oindex`). Raises StoreError where stored bytes are damaged.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def shape(self) -> tuple[int, ...]:
        return self._source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._source.dtype

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes: axes of one name have equal lengths."""
        return self._source.dims

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What the store says of the array: units and the like."""
        return self._source.attrs

    def loaded(self) -> LazyArray:
        """The same array, read now and kept in memory."""
        name = self._source.name
        return LazyArray(InMemory(name, np.asarray(self), self.dims, self.attrs))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory, if it were read whole."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        keys = _normalised(key, self.shape)
        flips = tuple(_is_reversed(k) for k in keys if not isinstance(k, int))
        result = self._read(tuple(_forward(k, n) for k, n in zip(keys, self.shape, strict=True)))
        if any(flips):
            result = result[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
        return result if result.ndim else result[()]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a LazyArray is read from a store: it cannot be had without a copy")
        return np.asarray(self[...], dtype=dtype)

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks():
            yield from block

    def blocks(self, first: int = 0) -> Iterator[NDArray[Any]]:
        """The array from a row on, in runs of whole chunks along axis 0, about 16 MiB each."""
        step = self._source.block_rows
        for start in range(first - first % step, len(self), step):
            yield self[max(start, first) : start + step]

    def __repr__(self) -> str:
        size = f"{self.nbytes / 1e6:.1f} MB" if self.nbytes >= 1e5 else f"{self.nbytes} B"
        return f"<LazyArray {self._source.name} {self.shape} {self.dtype}, {size}>"

    def _read(self, keys: tuple[Any, ...]) -> NDArray[Any]:
        first = keys[0] if keys else None
        if not isinstance(first, slice) or first.stop - first.start <= self._source.block_rows:
            return self._source.read(keys)
        count = len(range(first.start, first.stop, first.step))
        stride = max(first.step, self._source.block_rows // first.step * first.step)
        result: NDArray[Any] | None = None
        done = 0
        for start in range(first.start, first.stop, stride):
            rows = slice(start, min(start + stride, first.stop), first.step)
            block = self._source.read((rows, *keys[1:]))
            if result is None:
                result = np.empty((count, *block.shape[1:]), self.dtype)
            result[done : done + len(block)] = block
            done += len(block)
        assert result is not None
        return result


def _block_rows(array: zarr.Array[Any]) -> int:
    if not array.shape:
        return 1
    chunk = array.chunks[0]
    row = max(1, array.dtype.itemsize * math.prod(array.shape[1:]))
    chunks = max(1, BLOCK_BYTES // (row * chunk))
    if array.shards is not None:
        # never all chunks of a shard: zarr-python would read its file whole, unused space and all
        chunks = min(chunks, max(1, array.shards[0] // chunk // 2))
    return int(chunk * chunks)


def _normalised(key: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A slice or non-negative integers for each axis. Raises IndexError."""
    keys = list(key) if isinstance(key, tuple) else [key]
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("only one ellipsis (...) in an index")
    missing = len(shape) - (len(keys) - len(dots))
    if missing < 0:
        raise IndexError(f"too many indices for an array of shape {shape}")
    at = dots[0] if dots else len(keys)
    keys[at : at + len(dots)] = [slice(None)] * missing
    return tuple(
        _axis_key(k, size, axis) for axis, (k, size) in enumerate(zip(keys, shape, strict=True))
    )


def _axis_key(key: Any, size: int, axis: int) -> int | slice | NDArray[np.intp]:
    if isinstance(key, slice):
        return key
    if isinstance(key, bool | np.bool_):
        raise IndexError(f"{key} is no index for axis {axis}")
    if not isinstance(key, list | np.ndarray) or np.ndim(key) == 0:
        index = operator.index(key)
        if not -size <= index < size:
            raise IndexError(f"index {index} is out of bounds for axis {axis} of size {size}")
        return index % size
    array = np.asarray(key)
    if array.dtype == bool:
        if array.shape != (size,):
            raise IndexError(f"a mask of shape {array.shape} for axis {axis} of size {size}")
        return np.flatnonzero(array)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise IndexError("an index array has one dimension and holds integers or bools")
    if np.any((array < -size) | (array >= size)):  # before it is cast: uint64 would wrap
        raise IndexError(f"an index is out of bounds for axis {axis} of size {size}")
    indices = array.astype(np.intp)
    return np.where(indices < 0, indices + size, indices)


def _is_reversed(key: slice | NDArray[np.intp]) -> bool:
    return isinstance(key, slice) and key.step is not None and key.step < 0


def _forward(key: Any, size: int) -> Any:
    """A slice with its bounds filled in and a positive step: zarr reads no other."""
    if not isinstance(key, slice):
        return key
    start, stop, step = key.indices(size)
    count = len(range(start, stop, step))
    if step > 0:
        return slice(start, max(start, stop), step)
    if not count:
        return slice(0, 0, 1)
    return slice(start + (count - 1) * step, start + 1, -step)

"""Indexing a LazyArray is indexing the numpy array it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import StorePath, WrapperStore

from zwriter.errors import StoreError
from zwriter.reader.lazy import InMemory, InStore, LazyArray
from zwriter.testing.scans import ScanFolder

DATA = np.arange(23 * 4 * 3, dtype=np.int32).reshape(23, 4, 3)


def stored(at_once: int = 1) -> LazyArray:
    array = zarr.create_array(
        zarr.storage.MemoryStore(), shape=DATA.shape, chunks=(2, 4, 3), shards=(6, 4, 3), dtype="i4"
    )
    array[...] = DATA
    return LazyArray(InStore("data", lambda: array, at_once))


ARRAYS = {
    "stored": stored(),
    "stored, read side by side": stored(at_once=3),
    "in memory": LazyArray(InMemory("data", DATA, ("row", "y", "x"))),
}


def axis_key(size: int) -> st.SearchStrategy:
    index = st.integers(-size, size - 1)
    return st.one_of(
        index,
        st.slices(size),
        st.lists(index, max_size=6),
        st.lists(st.booleans(), min_size=size, max_size=size).map(np.array),
    )


@pytest.mark.parametrize("where", ARRAYS)
@given(keys=st.tuples(axis_key(23), axis_key(4), axis_key(3)), count=st.integers(0, 3))
def test_every_index_gives_what_numpy_gives(where, keys, count):
    keys = tuple(np.array(key, int) if isinstance(key, list) else key for key in keys[:count])
    expected = DATA
    for axis in reversed(range(len(keys))):
        expected = expected[(slice(None),) * axis + (keys[axis],)]
    np.testing.assert_array_equal(ARRAYS[where][keys], expected)
    np.testing.assert_array_equal(ARRAYS[where][(*keys, ...)], expected)


@pytest.mark.parametrize("where", ARRAYS)
def test_it_is_an_array_to_numpy(where):
    array = ARRAYS[where]
    np.testing.assert_array_equal(np.asarray(array), DATA)
    assert np.asarray(array, dtype=float).dtype == float
    assert (array.shape, array.ndim, len(array), array.nbytes) == (DATA.shape, 3, 23, DATA.nbytes)
    np.testing.assert_array_equal(list(array), list(DATA))
    assert "(23, 4, 3) int32" in repr(array)


def test_reading_all_of_it_goes_block_by_block(monkeypatch):
    monkeypatch.setattr("zwriter.reader.lazy.BLOCK_BYTES", 100)
    array = stored()
    np.testing.assert_array_equal(array[...], DATA)
    np.testing.assert_array_equal(array[1:-1:3], DATA[1:-1:3])
    np.testing.assert_array_equal(np.concatenate(list(array.blocks())), DATA)


@pytest.mark.parametrize(
    "key",
    [
        *(23, -24, (0, 0, 0, 0), [23], (..., ...), np.ones(22, bool), 1.5),
        *(True, np.True_, np.array([2**64 - 1], np.uint64)),
    ],
    ids=str,
)
def test_an_index_that_is_outside_is_an_error(key):
    with pytest.raises((IndexError, TypeError)):
        ARRAYS["stored"][key]


class Moving(WrapperStore[Store]):
    """A store whose chunks are moved by a writer, so that `at_most` can be read until it is opened
    anew."""

    def __init__(self, store: Store, at_most: int) -> None:
        super().__init__(store)
        self._at_most = self._left = at_most

    def opened(self) -> None:
        self._left = self._at_most

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        self._left -= 1
        if self._left < 0:
            raise ValueError("Stored and computed checksum do not match")
        return await self._store.get(key, prototype, byte_range)


def moving(at_most: int) -> tuple[LazyArray, np.ndarray]:
    data = np.arange(70).reshape(35, 2)
    memory = zarr.storage.MemoryStore()
    zarr.create_array(memory, data=data, chunks=(3, 2), compressors=None)
    store = Moving(memory, at_most)
    document = zarr.open_array(memory).metadata.to_dict()

    def open_array() -> zarr.Array[Any]:
        store.opened()
        return zarr.Array.from_dict(StorePath(store), document)

    return LazyArray(InStore("data", open_array)), data


@pytest.mark.parametrize("at_most", [1, 2, 5, 100])
@pytest.mark.parametrize("key", [slice(None), slice(2, 31), 17, [3, 4, 5]])
def test_what_a_writer_moves_meanwhile_is_read_in_ever_smaller_parts(at_most: int, key: Any):
    array, data = moving(at_most)
    np.testing.assert_array_equal(array[key], data[key])


def test_an_array_that_is_promoted_stays_for_its_reader_as_it_was(scans: ScanFolder):
    with scans.writer(master=None) as writer:
        for row in range(3):
            writer.add_slice("det", "count", row, [row, 7], max_shape=(None, 4))
        writer.flush()
        value = scans.open().devices["det"]["count"].value
        before = value[...]
        writer.add_slice("det", "count", 3, [0.5], max_shape=(None, 4))
    for now in (value[...], np.stack([value[row] for row in range(3)])):
        assert now.dtype == before.dtype == np.int64
        np.testing.assert_array_equal(now, before)


def test_what_stays_unreadable_is_told_in_a_line():
    array, _ = moving(0)
    with pytest.raises(StoreError, match=r"^data cannot be read \(Stored and computed checksum"):
        array[...]

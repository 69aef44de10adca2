"""Indexing a LazyArray is indexing the numpy array it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from zwriter.reader.lazy import InMemory, InStore, LazyArray

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


@pytest.mark.parametrize("key", [23, -24, (0, 0, 0, 0), [23], (..., ...), np.ones(22, bool), 1.5])
def test_an_index_that_is_outside_is_an_error(key):
    with pytest.raises((IndexError, TypeError)):
        ARRAYS["stored"][key]

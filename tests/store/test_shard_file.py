"""A sealed shard is read, with the same values, by zarr-python, tensorstore, h5py and h5dump."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
import tensorstore
import zarr

from zwriter.store.appended import AppendArray
from zwriter.store.codecs import BLOSC_OVERHEAD, CRC_BYTES, ChunkCodec
from zwriter.store.placed import PlacedArray
from zwriter.store.shard_index import index_nbytes, parse_index

RECORD = np.dtype([("x", "<i4"), ("y", "<f8")])
DTYPES = ["?", "<i1", "<u2", "<i4", "<u8", "<f4", "<f8", "<c8", "<c16"]
CODECS = ["none", "lz4", "zstd", "zlib"]


def sealed(path: Path, codec: str, data: np.ndarray[Any, Any]) -> AppendArray:
    chunk = 7 * data[0].nbytes
    array = AppendArray(path, ChunkCodec(data.dtype, codec, 5), data.shape[1:], chunk)
    for part in np.array_split(data, 5):
        array.append(part)
        array.flush()
        array.publish(["row", "x"][: data.ndim], {})
    array.seal()
    array.trim()
    return array


def some(dtype: Any, shape: tuple[int, ...] = (40, 6)) -> np.ndarray[Any, Any]:
    raw = np.random.default_rng(1).integers(0, 100, shape)
    return raw.astype(dtype) if np.dtype(dtype).kind != "c" else (raw + 1j * raw).astype(dtype)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_reader_sees_the_same_values(tmp_path: Path, dtype: str, codec: str) -> None:
    data = some(dtype)
    sealed(tmp_path / "a", codec, data)
    assert_every_reader_sees(data, tmp_path / "a")


def assert_every_reader_sees(data: np.ndarray[Any, Any], array: Path) -> None:
    np.testing.assert_array_equal(zarr.open_array(array, mode="r")[...], data)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(array)}}
    np.testing.assert_array_equal(tensorstore.open(spec).result().read().result(), data)
    with h5py.File(array / "c/0/0") as file:
        assert file["data"].dtype == data.dtype
        np.testing.assert_array_equal(file["data"][...], data)


@pytest.mark.parametrize("large", [False, True], ids=["small chunks", "large chunks"])
@pytest.mark.parametrize("codec", ["lz4", "zstd", "zlib"])
def test_what_cannot_be_made_smaller_is_only_copied_until_something_can(
    tmp_path: Path, codec: str, large: bool
) -> None:
    rows, chunks = 7, 40
    width = 32_000 if large else 64
    noise = np.random.default_rng(1).integers(0, 2**16, (chunks * rows, width), "<u2")
    even = np.zeros_like(noise)
    data = np.concatenate([noise, even, noise[: 3 * rows]])
    sealed(tmp_path / "a", codec, data)
    assert_every_reader_sees(data, tmp_path / "a")
    head = (tmp_path / "a/c/0/0").read_bytes()[: index_nbytes(255)]
    sizes = parse_index(head, 255)[:, 1].astype(int)
    as_it_is = rows * data[0].nbytes + BLOSC_OVERHEAD + CRC_BYTES
    assert set(sizes[:chunks]) == {as_it_is}
    smaller = sizes[chunks : 2 * chunks] < as_it_is / 5
    assert np.count_nonzero(smaller) >= chunks // 4  # in threads, noise may be done before or after
    assert set(sizes[2 * chunks : 2 * chunks + 3]) == {as_it_is}


def test_records_are_bytes_in_zarr_and_a_compound_in_hdf5(tmp_path: Path) -> None:
    data = np.zeros(40, RECORD)
    data["x"], data["y"] = np.arange(40), np.arange(40) / 2
    sealed(tmp_path / "a", "lz4", data)
    stored = zarr.open_array(tmp_path / "a", mode="r")
    assert [tuple(field) for field in stored.attrs["zwriter"]["record"]] == RECORD.descr
    np.testing.assert_array_equal(stored[...].view(RECORD)[:, 0], data)
    with h5py.File(tmp_path / "a" / "c/0/0") as file:
        np.testing.assert_array_equal(file["data"][...], data)


def test_strings_are_read_by_zarr(tmp_path: Path) -> None:
    data = np.array([f"µ{i}" * (i % 9) for i in range(300)], np.dtypes.StringDType())
    array = AppendArray(tmp_path / "a", ChunkCodec(data.dtype, "lz4", 5), (), 100)
    array.append(data)
    array.flush()
    array.publish(["row"], {})
    array.seal()
    assert zarr.open_array(tmp_path / "a", mode="r")[...].tolist() == data.tolist()


@pytest.mark.parametrize("codec", CODECS)
def test_more_than_one_shard(tmp_path: Path, codec: str) -> None:
    data = some("<i4", (7 * 255 * 2 + 3, 2))
    sealed(tmp_path / "a", codec, data)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a", mode="r")[...], data)
    parts = []
    for shard in range(3):
        with h5py.File(tmp_path / "a" / f"c/{shard}/0") as file:
            parts.append(file["data"][...])
    np.testing.assert_array_equal(np.concatenate(parts), data)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shift", [0, 2, 26])
def test_large_chunks_begin_where_a_copy_is_fast(tmp_path: Path, codec: str, shift: int) -> None:
    """Where they lie as in memory, in a cache line; readers do not mind what is free between."""
    memory = np.random.default_rng(1).integers(0, 2**16, (9, 150_013), "<u2")
    rows = memory.reshape(-1)[shift : shift + 8 * 150_013].reshape(8, 150_013)
    array = AppendArray(tmp_path / "a", ChunkCodec(rows.dtype, codec, 5), rows.shape[1:], 300_026)
    for row in rows:
        array.append(row[np.newaxis])
        array.flush()
        array.publish(["row", "x"], {})
    array.seal()
    stored = (tmp_path / "a/c/0/0").read_bytes()
    index = parse_index(stored[: index_nbytes(255)], 255).astype(int)
    expected = (rows.ctypes.data + np.arange(8) * rows.strides[0]) % 64
    if codec == "none":
        np.testing.assert_array_equal(index[:8, 0] % 64, expected)
    else:  # all but the first are as they are, behind a header
        np.testing.assert_array_equal((index[1:8, 0] + BLOSC_OVERHEAD) % 64, expected[1:])
    free = index[1:8, 0] - index[:7].sum(axis=1)
    assert free.min() >= 16
    assert free.max() <= 79
    array.trim()
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a", mode="r")[...], rows)
    with h5py.File(tmp_path / "a" / "c/0/0") as file:
        np.testing.assert_array_equal(file["data"][...], rows)


def test_a_shard_to_which_nothing_was_written_is_a_whole_file(tmp_path: Path) -> None:
    array = PlacedArray(tmp_path / "a", ChunkCodec(np.dtype("<f8"), "lz4", 5), (4,), 64)
    array.write(2 * 255 * 3 + 1, 0, np.arange(4.0))  # in the last of four shards
    array.flush()
    array.publish(["row", "x"], {})
    array.seal()
    array.trim()
    for shard in range(4):
        with h5py.File(tmp_path / "a" / f"c/{shard}/0") as file:
            assert np.isnan(file["data"][0]).all()
    value = zarr.open_array(tmp_path / "a", mode="r")[...]
    assert np.flatnonzero(np.isfinite(value[:, 0])).tolist() == [2 * 255 * 3 + 1]


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_h5dump_reads_an_uncompressed_shard(tmp_path: Path) -> None:
    sealed(tmp_path / "a", "none", np.arange(20, dtype="<i4"))
    out = subprocess.run(
        ["h5dump", "-y", "-w", "0", "-d", "/data", tmp_path / "a" / "c/0"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert ", ".join(map(str, range(20))) in out


def test_a_sealed_shard_has_no_versions_left_and_cannot_be_written(tmp_path: Path) -> None:
    sealed(tmp_path / "a", "none", some("<u2"))
    path = tmp_path / "a" / "c/0/0"
    assert path.stat().st_mode & 0o222 == 0
    assert path.stat().st_size == 16384 + 6 * (7 * 12 + 4)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    sealed(tmp_path / "a", "lz4", some("<u2"))
    path = tmp_path / "a" / "c/0/0"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[16384 + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"(?i)checksum"):
        zarr.open_array(tmp_path / "a", mode="r")[...]


def test_a_promoted_array_leaves_the_older_bytes_to_readers_that_hold_it(tmp_path: Path) -> None:
    array = AppendArray(tmp_path / "a", ChunkCodec(np.dtype("<i8"), "lz4", 5), (), 64)
    array.append(np.arange(20))
    array.flush()
    array.publish(["row"], {})
    held = zarr.open_array(tmp_path / "a", mode="r")
    wider = array.promoted(np.dtype("<f8"), lambda first, rows: None)
    assert wider is not None
    wider.append(np.array([0.5]))
    wider.flush()
    wider.publish(["row"], {})
    assert held.dtype == np.int64
    np.testing.assert_array_equal(held[...], np.arange(20))
    fresh = zarr.open_array(tmp_path / "a", mode="r")[...]
    np.testing.assert_array_equal(fresh, [*range(20), 0.5])
    wider.seal()
    wider.trim()
    names = [path.name for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert sorted(names) == ["c.0", "zarr.json"]


def test_chunks_are_as_large_as_the_settings_say(tmp_path: Path) -> None:
    sealed(tmp_path / "a", "lz4", some("<u2"))
    document = json.loads((tmp_path / "a" / "zarr.json").read_text())
    assert document["codecs"][0]["configuration"]["chunk_shape"] == [7, 6]
    assert document["codecs"][0]["configuration"]["index_location"] == "start"


def test_chunks_are_as_large_as_the_settings_say_however_rows_come(tmp_path: Path) -> None:
    rows = np.zeros((20, 300_000), "<u2")
    array = AppendArray(tmp_path, ChunkCodec(rows.dtype, "none", 0), rows.shape[1:], 9 * 600_000)
    for part in (rows[:5], rows[5:]):
        array.append(part)
    assert array.chunk_rows == 9
    array.close()

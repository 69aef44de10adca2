"""Each layout of the store in the master file: by reference and copied, with every codec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from zwriter.master import write_master
from zwriter.objects import AnyPath
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import MasterSettings, SignalSettings, StoreSettings
from zwriter.testing.scans import ScanFolder, remove

MODES = ("reference", "copy")
DISK = [("disk", mode, codec) for mode in MODES for codec in ("none", "lz4", "zstd", "zlib")]
# HDF5 cannot read what would be linked in a bucket, and chunks are copied as they are
BUCKET = [pytest.param("bucket", "copy", "lz4", marks=pytest.mark.s3)]
on_a_disk = pytest.mark.parametrize("scans", ["disk"], indirect=True)


def writer(scans: ScanFolder, codec: str = "lz4", chunk_bytes: int | None = None) -> ScanWriter:
    signal = SignalSettings(codec=codec, chunk_bytes=chunk_bytes)
    settings = StoreSettings(default=signal, durability="none")
    return scans.writer(scan_number=1, settings=settings, master=None)


def devices(out: Path) -> Any:
    return h5py.File(out)["entry/collection/devices"]


def check_against_store(store: AnyPath, out: Path) -> None:
    """Every async array of the store is in the master file, value by value."""
    with h5py.File(out) as file:
        for device_name, device in open_scan(store).devices.items():
            for name, signal in device.items():
                group = file[f"entry/collection/devices/{device_name}/{name}"]
                assert group.attrs["signal"] == "value"
                if signal.layout in ("ragged", "pieces"):
                    for mine, stored in zip(group["value"][()], signal.rows, strict=True):
                        np.testing.assert_array_equal(mine, stored)
                    continue
                for key, array in signal.arrays.items():
                    mine = group[key]
                    assert mine.shape == array.shape
                    if array.dtype.kind == "T":
                        assert np.all(mine.asstr()[()] == np.asarray(array))
                    else:
                        assert mine.dtype == array.dtype
                        np.testing.assert_array_equal(mine[()], np.asarray(array))


@pytest.mark.parametrize(("scans", "mode", "codec"), DISK + BUCKET, indirect=["scans"])
def test_all_layouts_and_types_read_as_in_the_store(
    scans: ScanFolder, tmp_path: Path, mode: str, codec: str
) -> None:
    random = np.random.default_rng(7)
    with writer(scans, codec, chunk_bytes=4096) as scan:
        for i in range(100):
            frame = random.integers(0, 9, (20, 30), np.uint16)
            scan.add("frames", "image", frame, float(i))
            scan.add("short", "rows", random.random(i % 8 + 1), max_shape=(None, 8))
            scan.add("ragged", "rows", np.arange(i % 7 + 1), max_shape=(None, None))
            scan.add("ragged", "equal", np.arange(4), max_shape=(None, None))
            scan.add_slice("slices", "rows", i % 5, random.random(3), max_shape=(5, 60))
            scan.add_slice("pieces", "rows", i % 5, np.arange(i % 3 + 1), max_shape=(None, None))
            scan.add("types", "bool", bool(i % 3))
            scan.add("types", "complex", 1j * i)
            scan.add("types", "text", f"point {i}")
            scan.add("types", "float32", np.float32(i))
            scan.replace("replaced", "scalar", i)
            scan.replace("replaced", "array", np.arange(i))
            scan.replace("replaced", "text", f"value {i}")
        scan.add_slice("slices", "gap", 2000, np.arange(3.0), max_shape=(None, 10))
        scan.replace("replaced", "empty", [])
    write_master(scan.path, tmp_path / "out.h5", mode=mode)
    check_against_store(scan.path, tmp_path / "out.h5")


@on_a_disk
@pytest.mark.parametrize("mode", MODES)
def test_records_keep_their_fields(scans: ScanFolder, tmp_path: Path, mode: str) -> None:
    dtype = np.dtype([("a", "<i4"), ("b", "<f8")])
    with writer(scans) as scan:
        for i in range(5):
            scan.add("device", "record", np.array((i, i / 2), dtype))
    write_master(scan.path, tmp_path / "out.h5", mode=mode)
    value = devices(tmp_path / "out.h5")["device/record/value"]
    assert value.dtype == dtype
    assert value["b"].tolist() == [0, 0.5, 1, 1.5, 2]


def test_rows_that_were_short_have_their_length_beside_them(
    scans: ScanFolder, tmp_path: Path
) -> None:
    with writer(scans) as scan:
        scan.add("spec", "counts", [1.0, 2.0], max_shape=(None, 3))
        scan.add("spec", "counts", [1.0, 2.0, 3.0], max_shape=(None, 3))
    write_master(scan.path, tmp_path / "out.h5", mode="copy")
    group = devices(tmp_path / "out.h5")["spec/counts"]
    assert group["length"][()].tolist() == [2, 3]
    assert np.isnan(group["value"][0, 2])


@on_a_disk
def test_copying_passes_the_compressed_chunks_on(scans: ScanFolder, tmp_path: Path) -> None:
    with writer(scans, chunk_bytes=8 * 1000) as scan:
        scan.add("device", "signal", np.arange(2500.0), max_shape=(None,))
    write_master(scan.path, tmp_path / "copy.h5", mode="copy")
    write_master(scan.path, tmp_path / "link.h5", mode="reference")
    chunks = []
    for name in ("copy.h5", "link.h5"):
        value = devices(tmp_path / name)["device/signal/value"]
        assert value.chunks == (1000,)
        chunks.append([value.id.read_direct_chunk((i,))[1] for i in (0, 1000, 2000)])
    assert chunks[0] == chunks[1]


def test_texts_in_ragged_rows_become_json(scans: ScanFolder, tmp_path: Path) -> None:
    with writer(scans) as scan:
        scan.add("device", "words", ["a", "b"], max_shape=(None, None))
        scan.add("device", "words", ["c"], max_shape=(None, None))
    write_master(scan.path, tmp_path / "out.h5", mode="copy")
    value = devices(tmp_path / "out.h5")["device/words/value"]
    assert value.asstr()[()].tolist() == ['["a", "b"]', '["c"]']


@pytest.fixture
def three_shards(scans: ScanFolder) -> AnyPath:
    """600 rows of int64, float32 and bool, with 255 one-row chunks a shard."""
    with writer(scans, chunk_bytes=1) as scan:
        for i in range(600):
            scan.add("device", "int", i)
            scan.add("device", "float", np.full(3, i, np.float32))
            scan.add("device", "bool", value=True)
    return scan.path


@on_a_disk
def test_several_shards_become_a_virtual_dataset(three_shards: AnyPath, tmp_path: Path) -> None:
    write_master(three_shards, tmp_path / "out.h5", mode="reference")
    check_against_store(three_shards, tmp_path / "out.h5")
    value = devices(tmp_path / "out.h5")["device/int/value"]
    assert value.is_virtual
    assert len(value.virtual_sources()) == 3


@on_a_disk
def test_a_lost_shard_reads_as_a_value_nobody_takes_for_data(
    three_shards: AnyPath, tmp_path: Path
) -> None:
    write_master(three_shards, tmp_path / "out.h5", mode="reference")
    for signal, key in (("int", "c/1"), ("float", "c/1/0")):
        remove(three_shards / f"entry/collection/devices/device/{signal}/value" / key)
    group = devices(tmp_path / "out.h5")["device"]
    assert group["int/value"][254:256].tolist() == [254, np.iinfo(np.int64).max]
    assert np.isnan(group["float/value"][300]).all()
    # for a bool there is no such value, so they were copied
    assert not group["bool/value"].is_virtual


def test_auto_copies_what_is_small_and_refers_to_the_rest(
    scans: ScanFolder, tmp_path: Path
) -> None:
    with writer(scans) as scan:
        scan.add("device", "small", np.zeros(10), max_shape=(None,))
        scan.add("device", "large", np.zeros(1000), max_shape=(None,))
    settings = MasterSettings(copy_below=1000)
    write_master(scan.path, tmp_path / "out.h5", mode="auto", settings=settings)
    group = devices(tmp_path / "out.h5")["device"]
    assert group["small"].get("value", getlink=True, getclass=True) is h5py.HardLink
    assert group["large"].get("value", getlink=True, getclass=True) is h5py.ExternalLink


def test_a_signal_of_which_nothing_could_be_written_is_only_in_the_ledger(
    scans: ScanFolder, tmp_path: Path
) -> None:
    with writer(scans) as scan:
        scan.add("good", "signal", 1.0)
        scan.add("bad", "signal", np.zeros((2, 2)), max_shape=(None,))
    write_master(scan.path, tmp_path / "out.h5", mode="copy")
    with h5py.File(tmp_path / "out.h5") as file:
        assert "bad" not in file["entry/collection/devices"]
        rows = {row["device"]: row["quarantined"] for row in file["entry/zwriter/ledger"]}
        assert rows == {b"good": 0, b"bad": 1}
        assert file["entry/zwriter/verdict"].asstr()[()] == "COMPLETE_WITH_GAPS"


def test_names_with_percent_signs_can_be_referred_to(tmp_path: Path) -> None:
    """HDF5 takes the names of sources for formats."""
    signal = SignalSettings(chunk_bytes=800, shard_bytes=800, codec="none")
    with ScanWriter(
        tmp_path / "S1.zarr", settings=StoreSettings(default=signal), master="reference"
    ) as scan:
        for number in range(250):
            scan.add("50%b", "100%x", float(number))
    with h5py.File(tmp_path / "S1_master.h5") as file:
        value = file["entry/collection/devices/50%b/100%x/value"]
        assert value.is_virtual
        assert value[:].tolist() == list(range(250))
    assert verify(tmp_path).problems == []

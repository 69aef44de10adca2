"""A master file is whole and checked, or it is not there."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from zwriter.errors import StoreError, UsageError
from zwriter.master import write_master
from zwriter.objects import AnyPath
from zwriter.settings import MasterSettings
from zwriter.testing.scans import ScanFolder, remove


@pytest.fixture
def store(scans: ScanFolder) -> AnyPath:
    with scans.writer(master=None) as scan:
        scan.add("device", "signal", np.arange(1000.0), max_shape=(None,))
    return scan.path


@pytest.fixture
def shard(store: AnyPath) -> AnyPath:
    """With the only chunk."""
    return store / "entry/collection/devices/device/signal/value/c/0"


def test_an_existing_master_is_replaced(scans: ScanFolder, store: AnyPath) -> None:
    out = scans / "out.h5"
    for facility in ("Here", "Elsewhere"):
        write_master(store, out, settings=MasterSettings(facility=facility))
        with out.open("rb") as raw, h5py.File(raw) as file:
            assert file["entry/instrument/source/name"].asstr()[()] == facility
    assert scans.names() == ["S1.zarr", "out.h5"]


def test_of_a_scan_that_is_not_of_bec_it_says_nothing_that_nobody_knows(
    store: AnyPath, tmp_path: Path
) -> None:
    write_master(store, tmp_path / "out.h5", mode="copy")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/program_name"].asstr()[()] == "zwriter"
        assert list(file["entry/instrument/source"]) == []


def test_a_file_that_is_no_master_is_not_replaced(scans: ScanFolder, store: AnyPath) -> None:
    out = scans / "out.h5"
    foreign = io.BytesIO()
    with h5py.File(foreign, "w") as file:
        file["entry/data"] = [1, 2, 3]
    for content, what in (
        (b"something else", "damaged, or no HDF5 file"),
        (foreign.getvalue(), "no master file of zwriter"),
    ):
        out.write_bytes(content)
        with pytest.raises(UsageError, match=what):
            write_master(store, out)
        assert out.read_bytes() == content


def test_writing_it_again_gives_the_same_tree(store: AnyPath, tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_master(store, tmp_path / name, mode="copy")
    assert contents(tmp_path / "a.h5") == contents(tmp_path / "b.h5")


def contents(path: Path) -> dict[str, str]:
    """Everything in the file but the seconds in which HDF5 made its objects."""
    found: dict[str, str] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, node: found.update(
                {name: repr((dict(node.attrs), node[()] if hasattr(node, "dtype") else None))}
            )
        )
    return found


def test_a_damaged_chunk_is_not_passed_on(
    scans: ScanFolder, store: AnyPath, shard: AnyPath
) -> None:
    out = scans / "out.h5"
    write_master(store, out, mode="copy")
    before, data = out.read_bytes(), bytearray(shard.read_bytes())
    data[-20] ^= 1
    remove(shard)
    shard.write_bytes(data)
    with pytest.raises(StoreError, match="chunk 0 is damaged"):
        write_master(store, out, mode="copy")
    assert out.read_bytes() == before
    assert scans.names() == ["S1.zarr", "out.h5"]


@pytest.mark.parametrize(
    ("scans", "mode"),
    [
        ("disk", "reference"),
        ("disk", "copy"),
        pytest.param("bucket", "link", marks=pytest.mark.s3),
        pytest.param("bucket", "copy", marks=pytest.mark.s3),
    ],
    indirect=["scans"],
)
def test_a_lost_shard_is_found(store: AnyPath, shard: AnyPath, tmp_path: Path, mode: str) -> None:
    remove(shard)
    with pytest.raises(StoreError, match="c/0") as told:
        write_master(store, tmp_path / "out.h5", mode=mode)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out.h5").exists()


def test_an_open_scan_is_refused(scans: ScanFolder, tmp_path: Path) -> None:
    scan = scans.writer(master=None)
    scan.add("device", "signal", 1)
    scan.flush()
    with pytest.raises(UsageError, match="not finished"):
        write_master(scan.path, tmp_path / "out.h5")
    scan.close()


def test_a_place_that_cannot_be_written_is_one_clear_line(store: AnyPath, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_master(store, tmp_path / "file" / "out.h5")


def test_a_remote_reader_needs_few_reads(store: AnyPath, tmp_path: Path) -> None:
    write_master(store, tmp_path / "out.h5", mode="copy")
    with h5py.File(tmp_path / "out.h5") as file:
        plist = file.id.get_create_plist()
        assert plist.get_file_space_strategy()[0] == h5py.h5f.FSPACE_STRATEGY_PAGE
        assert plist.get_file_space_page_size() == 64 * 1024

"""A master file is whole and checked, or it is not there."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from zwriter.errors import StoreError, UsageError
from zwriter.master import write_master
from zwriter.scan import ScanWriter


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with ScanWriter(tmp_path / "s.zarr", master=None) as scan:
        scan.add("device", "signal", np.arange(1000.0), max_shape=(None,))
    return tmp_path / "s.zarr"


def damage(store: Path) -> None:
    """Turn a bit in the only chunk."""
    shard = store / "entry/collection/devices/device/signal/value/c/0"
    shard.chmod(0o644)
    data = bytearray(shard.read_bytes())
    data[-20] ^= 1
    shard.write_bytes(data)


def test_an_existing_master_is_replaced(store: Path, tmp_path: Path) -> None:
    (tmp_path / "out.h5").write_text("something else")
    write_master(store, tmp_path / "out.h5")
    assert h5py.is_hdf5(tmp_path / "out.h5")
    assert not list(tmp_path.glob("*.part"))


def test_writing_it_again_gives_the_same_tree(store: Path, tmp_path: Path) -> None:
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


def test_a_damaged_chunk_is_not_passed_on(store: Path, tmp_path: Path) -> None:
    write_master(store, tmp_path / "out.h5", mode="copy")
    before = (tmp_path / "out.h5").read_bytes()
    damage(store)
    with pytest.raises(StoreError, match="chunk 0 is damaged"):
        write_master(store, tmp_path / "out.h5", mode="copy")
    assert (tmp_path / "out.h5").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("mode", ["reference", "copy"])
def test_a_lost_shard_is_found(store: Path, tmp_path: Path, mode: str) -> None:
    (store / "entry/collection/devices/device/signal/value/c/0").unlink()
    with pytest.raises(StoreError, match="c/0"):
        write_master(store, tmp_path / "out.h5", mode=mode)
    assert not (tmp_path / "out.h5").exists()


def test_an_open_scan_is_refused(tmp_path: Path) -> None:
    scan = ScanWriter(tmp_path / "s.zarr", master=None)
    scan.add("device", "signal", 1)
    scan.commit()
    with pytest.raises(UsageError, match="not finished"):
        write_master(tmp_path / "s.zarr", tmp_path / "out.h5")
    scan.close()


def test_a_place_that_cannot_be_written_is_one_clear_line(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_master(store, tmp_path / "file" / "out.h5")


def test_a_remote_reader_needs_few_reads(store: Path, tmp_path: Path) -> None:
    write_master(store, tmp_path / "out.h5", mode="copy")
    with h5py.File(tmp_path / "out.h5") as file:
        plist = file.id.get_create_plist()
        assert plist.get_file_space_strategy()[0] == h5py.h5f.FSPACE_STRATEGY_PAGE
        assert plist.get_file_space_page_size() == 64 * 1024

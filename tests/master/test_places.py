"""Where a master file belongs."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from zwriter.master import write_master
from zwriter.master.places import landing, master_path
from zwriter.objects import place
from zwriter.scan import ScanWriter
from zwriter.settings import MasterSettings


@pytest.mark.s3
def test_it_is_beside_the_store(bucket: str):
    for root in ("/data", f"s3://{bucket}/raw"):
        store = place(f"{root}/a/S1.zarr")
        found = master_path(store, place(root), MasterSettings(), "_low")
        assert str(found) == f"{root}/a/S1_master_low.h5"


@pytest.mark.s3
def test_a_folder_for_master_files_has_the_folders_of_the_root(bucket: str):
    settings = MasterSettings(folder=Path("/masters"))
    for root in ("/data", f"s3://{bucket}/raw"):
        store = place(f"{root}/a/S1.zarr")
        assert master_path(store, place(root), settings) == Path("/masters/a/S1_master.h5")


def test_a_store_that_is_not_below_the_root_has_it_beside_itself():
    settings = MasterSettings(folder=Path("/masters"))
    found = master_path(Path("/mine/S1.zarr"), Path("/data"), settings)
    assert found == Path("/mine/S1_master.h5")


def test_links_lead_from_another_folder_into_the_store(tmp_path: Path):
    with ScanWriter(tmp_path / "data/a/S1.zarr", master=None) as scan:
        scan.add("device", "signal", 1.0)
    settings = MasterSettings(folder=tmp_path / "masters", mode="reference")
    out = master_path(scan.path, tmp_path / "data", settings)
    write_master(scan.path, out, settings=settings)
    with h5py.File(tmp_path / "masters/a/S1_master.h5") as file:
        assert file["entry/collection/devices/device/signal/value"][()] == [1.0]


def test_only_what_was_left_of_the_same_file_is_removed(tmp_path: Path):
    out = tmp_path / "S1_master.h5"
    left, others, written = (
        tmp_path / f"{out.name}.{part}.part" for part in ("0123abcd", "my", "89abcdef")
    )
    left.touch()
    others.touch()
    with h5py.File(written, "w"), landing(out) as part:
        part.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in (out, others, written)
    )

"""The master file of a scan in a bucket, on a disk and in the bucket."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from zwriter import verify
from zwriter.errors import StoreError, UsageError
from zwriter.master import arrays, write_master
from zwriter.objects import ObjectPath, place, reading
from zwriter.scan import ScanWriter
from zwriter.settings import MasterSettings, SignalSettings, StoreSettings
from zwriter.testing.mirror import mirror
from zwriter.testing.s3 import S3Server

pytestmark = pytest.mark.s3

DEVICES = "entry/collection/devices"
IMAGE = f"{DEVICES}/frames/image"
SHARDS = f"{DEVICES}/shards/number"
PLACES = ("entry/zwriter/store",)  # what says where the file comes from


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every layout; `shards/number` is in three shards."""
    store = tmp_path_factory.mktemp("written") / "S1.zarr"
    random = np.random.default_rng(7)
    settings = StoreSettings(default=SignalSettings(chunk_bytes=4096), durability="none")
    with ScanWriter(store, scan_number=1, settings=settings, master=None) as scan:
        for i in range(60):
            frame = random.integers(0, 2**16, (20, 30), np.uint16)
            scan.add("frames", "image", frame, float(i))
            scan.add("ragged", "rows", np.arange(i % 7 + 1), max_shape=(None, None))
            scan.add_slice("slices", "rows", i % 5, random.random(3), max_shape=(5, 60))
            scan.add("types", "text", f"point {i}")
            scan.add("types", "bool", bool(i % 3))
            scan.replace("replaced", "array", np.arange(i))
        scan.add_slice("slices", "gap", 2000, np.arange(3.0), max_shape=(None, 10))
        for i in range(600):
            scan.add("shards", "number", np.full(600, i))
    return store


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    """A copy that can be changed."""
    return Path(shutil.copytree(written, tmp_path / written.name))


@pytest.fixture
def url(store: Path, s3: S3Server, bucket: str) -> str:
    return f"{mirror(store.parent, s3, bucket)}/{store.name}"


def at(url: str) -> ObjectPath:
    path = place(url)
    assert isinstance(path, ObjectPath)
    return path


def datasets(path: Path) -> dict[str, Any]:
    """All datasets by name, those behind links too."""
    found: dict[str, Any] = {}

    def visit(group: h5py.Group, name: str) -> None:
        for key in group:
            node = group[key]
            if isinstance(node, h5py.Group):
                visit(node, f"{name}{key}/")
            else:
                found[f"{name}{key}"] = (node.dtype, node[()])

    with h5py.File(path) as file:
        visit(file, "")
    return {name: value for name, value in found.items() if name not in PLACES}


def check_same(ours: Path, theirs: Path) -> None:
    here, there = datasets(ours), datasets(theirs)
    assert here.keys() == there.keys()
    for name, (dtype, value) in there.items():
        assert here[name][0] == dtype, name
        pairs = [(here[name][1], value)]
        if dtype.kind == "O" and h5py.check_string_dtype(dtype) is None:  # rows of many lengths
            pairs = list(zip(here[name][1], value, strict=True))
        for mine, other in pairs:
            np.testing.assert_array_equal(mine, other, err_msg=name)


def kind(path: Path, name: str) -> str:
    with h5py.File(path) as file:
        link = file.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            return "link"
        return "nothing" if link is None else "virtual" if file[name].is_virtual else "copy"


@pytest.mark.parametrize("piece", [reading.PIECE, 5000])
def test_a_copy_is_that_of_a_scan_on_a_disk(
    store: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
):
    monkeypatch.setattr(reading, "PIECE", piece)
    monkeypatch.setattr(reading, "LIMIT", 4 * piece)
    write_master(url, tmp_path / "bucket.h5", mode="copy")
    write_master(store, tmp_path / "disk.h5", mode="copy")
    check_same(tmp_path / "bucket.h5", tmp_path / "disk.h5")


def test_links_work_once_the_scans_folder_is_mirrored(store: Path, url: str, tmp_path: Path):
    write_master(url, tmp_path / "away" / "S1_master.h5", mode="link")
    write_master(store, tmp_path / "disk.h5", mode="reference")
    for name in (f"{IMAGE}/value", f"{SHARDS}/value"):
        assert kind(tmp_path / "away/S1_master.h5", name) == kind(tmp_path / "disk.h5", name)
    assert kind(tmp_path / "disk.h5", f"{SHARDS}/value") == "virtual"

    assert verify(tmp_path / "away/S1_master.h5").exit_code == 0  # in the bucket
    shutil.copytree(store, tmp_path / "away" / store.name)
    check_same(tmp_path / "away/S1_master.h5", tmp_path / "disk.h5")
    assert verify(tmp_path / "away").exit_code == 0


def test_a_group_says_where_its_arrays_are(url: str, tmp_path: Path):
    write_master(url, tmp_path / "out.h5", mode="link")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/zwriter/store"].attrs["url"] == url
        where = file[SHARDS].attrs["url"]
        assert "url" not in file[f"{DEVICES}/types/text"].attrs  # it is in the file
    assert where == f"{url}/{SHARDS}"
    assert zarr.open_group(where, mode="r")["value"].shape == (600, 600)


def test_auto_copies_what_is_small_and_leaves_the_rest_in_the_bucket(url: str, tmp_path: Path):
    settings = MasterSettings(copy_below=60 * 1200)
    write_master(url, tmp_path / "out.h5", settings=settings)
    assert kind(tmp_path / "out.h5", f"{IMAGE}/timestamp") == "copy"
    assert kind(tmp_path / "out.h5", f"{IMAGE}/value") == "link"
    assert kind(tmp_path / "out.h5", f"{SHARDS}/value") == "virtual"


def test_of_an_array_in_too_many_objects_the_file_has_the_url(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(arrays, "MAX_SOURCES", 2)
    write_master(url, tmp_path / "out.h5", mode="link")
    assert kind(tmp_path / "out.h5", f"{SHARDS}/value") == "nothing"
    with h5py.File(tmp_path / "out.h5") as file:
        assert file[SHARDS].attrs["url"] == f"{url}/{SHARDS}"


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_the_file_may_be_an_object_beside_the_store(
    store: Path, url: str, tmp_path: Path, mode: str
):
    out = url.replace("S1.zarr", "S1_master.h5")
    write_master(url, out, mode=mode)
    for where in (out, url, url.rpartition("/")[0]):
        report = verify(where)
        assert (report.exit_code, report.problems) == (0, [])
    theirs = {"copy": "copy", "link": "reference"}[mode]
    write_master(store, tmp_path / "disk.h5", mode=theirs)
    data = at(out).read_bytes()
    (tmp_path / "S1_master.h5").write_bytes(data)  # mirrored
    check_same(tmp_path / "S1_master.h5", tmp_path / "disk.h5")


def test_the_file_of_a_scan_on_a_disk_may_be_an_object(store: Path, bucket: str):
    write_master(store, f"s3://{bucket}/elsewhere/S1_master.h5")
    assert verify(f"s3://{bucket}/elsewhere/S1_master.h5").exit_code == 0


def test_an_object_is_replaced_whole_or_not_at_all(url: str, monkeypatch: pytest.MonkeyPatch):
    out = url.replace("S1.zarr", "S1_master.h5")
    write_master(url, out, settings=MasterSettings(facility="Here"))
    there = at(out).read_bytes()

    def stop(*_: object) -> None:
        raise StoreError("stopped")

    monkeypatch.setattr("zwriter.master.write.verify_file", stop)
    with pytest.raises(StoreError, match="stopped"):
        write_master(url, out)
    assert at(out).read_bytes() == there


def test_modes_that_these_places_do_not_have_are_refused(store: Path, url: str, tmp_path: Path):
    out = tmp_path / "out.h5"
    for source, target, mode, message in (
        (url, out, "reference", "have mode link"),
        (store, out, "link", "have mode reference"),
        (store, f"{url}x.h5", "reference", "with mode copy"),
        (url, f"{url}/out.h5", "copy", "in the store"),
    ):
        with pytest.raises(UsageError, match=message):
            write_master(source, target, mode=mode)
    assert not out.exists()


@pytest.fixture
def shard(url: str, store: Path) -> ObjectPath:
    """The second shard of an array that has three."""
    found = sorted(store.joinpath(SHARDS, "value").rglob("*"))
    second = [path for path in found if path.is_file() and path.name != "zarr.json"][1]
    return at(url) / second.relative_to(store).as_posix()


@pytest.mark.parametrize("end", [100, -1])
def test_an_object_that_is_cut_off_is_not_linked(
    url: str, shard: ObjectPath, tmp_path: Path, end: int
):
    shard.write_bytes(shard.read_bytes()[:end])
    with pytest.raises(StoreError, match="no whole HDF5 file"):
        write_master(url, tmp_path / "out.h5", mode="link")


def test_an_object_of_another_shape_is_not_linked(url: str, shard: ObjectPath, tmp_path: Path):
    shard.write_bytes((shard.parent.parent / "2/0").read_bytes())
    with pytest.raises(StoreError, match="has shape"):
        write_master(url, tmp_path / "out.h5", mode="link")


def test_an_object_that_goes_while_it_is_read_is_no_hole(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Rows that never came have no chunk; what was there has."""
    read = ObjectPath.read_part

    def gone(path: ObjectPath, start: int, stop: int) -> bytes:
        if "slices/gap/value" in str(path):
            raise FileNotFoundError("gone")
        return read(path, start, stop)

    monkeypatch.setattr(ObjectPath, "read_part", gone)
    with pytest.raises(StoreError, match="slices/gap/value"):
        write_master(url, tmp_path / "out.h5", mode="copy")


def test_a_lost_object_of_a_linked_file_is_found(url: str, shard: ObjectPath, tmp_path: Path):
    out = url.replace("S1.zarr", "S1_master.h5")
    for where in (out, tmp_path / "away" / "S1_master.h5"):
        write_master(url, where, mode="link")
    shard.delete()
    for where in (out, tmp_path / "away" / "S1_master.h5"):
        assert any("is missing" in problem for problem in verify(where).problems)

"""A scan in a bucket: what is different from a disk, and what others read of it."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import obstore
import pytest
import tensorstore
import xarray
import zarr
from obstore.exceptions import GenericError
from obstore.store import S3Store
from zarr.storage import ObjectStore

from tests.reader.racing_reader import look_with_our_reader
from tests.reader.test_race import SETTINGS, add_row
from zwriter.errors import ServiceError, StoreError, UsageError
from zwriter.objects.filesystem import BucketFileSystem
from zwriter.reader import listing, open_scan
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.testing.mirror import mirror
from zwriter.testing.s3 import S3Server

SMALL = StoreSettings(flush_interval=60, default=SignalSettings(chunk_bytes=64), durability="none")
IMAGE = "entry/collection/devices/det/image"
FRAMES = np.arange(10)[:, None, None] + np.zeros((4, 3), np.uint16)


def write(writer: ScanWriter) -> None:
    for i, frame in enumerate(FRAMES):
        writer.add("det", "image", frame, 1.7e9 + i)
    writer.commit()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often S3's operations were asked for."""
    counted, call, get = Counter[str](), BucketFileSystem._call_s3, obstore.get

    async def counting(self: BucketFileSystem, method: str, *options, **kwargs):
        counted[method] += 1
        return await call(self, method, *options, **kwargs)

    def counting_get(store: S3Store, key: str):
        counted["get_object"] += 1
        return get(store, key)

    monkeypatch.setattr(BucketFileSystem, "_call_s3", counting)
    monkeypatch.setattr(obstore, "get", counting_get)
    return counted


@pytest.mark.s3
@pytest.mark.parametrize("state", ["live", "finished"])
def test_plain_readers_read_a_scan(tmp_path: Path, s3: S3Server, bucket: str, state: str):
    with ScanWriter(tmp_path / "S1.zarr", settings=SMALL, master=None) as writer:
        write(writer)
        if state == "live":
            mirror(tmp_path, s3, bucket)
    if state == "finished":
        mirror(tmp_path, s3, bucket)

    by_s3fs = zarr.open_group(f"s3://{bucket}/S1.zarr", mode="r", use_consolidated=False)
    np.testing.assert_array_equal(by_s3fs[f"{IMAGE}/value"][...], FRAMES)

    store = S3Store(bucket, prefix="S1.zarr", client_options={"allow_http": True})
    by_obstore = zarr.open_group(ObjectStore(store, read_only=True), mode="r")
    np.testing.assert_array_equal(by_obstore[f"{IMAGE}/value"][...], FRAMES)

    with xarray.open_zarr(f"s3://{bucket}/S1.zarr/{IMAGE}", consolidated=False) as dataset:
        np.testing.assert_array_equal(dataset.value, FRAMES)
        np.testing.assert_array_equal(dataset.timestamp, 1.7e9 + np.arange(10))

    kvstore = {"driver": "s3", "bucket": bucket, "path": f"S1.zarr/{IMAGE}/value/"}
    kvstore |= {"endpoint": s3.endpoint, "aws_region": "us-east-1"}
    spec = {"driver": "zarr3", "kvstore": kvstore}
    by_tensorstore = tensorstore.open(spec, read=True, open=True).result()
    np.testing.assert_array_equal(by_tensorstore.read().result(), FRAMES)


@pytest.mark.slow
@pytest.mark.s3
def test_a_reader_races_a_writer_and_sees_no_wrong_row(tmp_path: Path, s3: S3Server, bucket: str):
    def write() -> None:
        n = 1
        for _ in range(15):
            for _ in range(n % 5 + 1):
                add_row(writer, n)
                n += 1
            writer.commit()
            mirror(tmp_path, s3, bucket)
        writer.finish()
        writer.close()
        mirror(tmp_path, s3, bucket)

    writer = ScanWriter(tmp_path / "S1.zarr", settings=SETTINGS, master=None)
    add_row(writer, 0)
    writer.commit()
    url = f"{mirror(tmp_path, s3, bucket)}/S1.zarr"
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        looks = []
        while not looks or not writing.done():
            looks.append(look_with_our_reader(url))
            assert looks[-1][1] == []
        writing.result()
    assert open_scan(url).finished
    counts = [n for n, _ in looks]
    assert counts == sorted(counts)
    assert look_with_our_reader(url)[0] > counts[0]


@pytest.mark.s3
def test_options_in_python_need_no_environment(tmp_path: Path, s3, bucket, monkeypatch):
    with ScanWriter(tmp_path / "S1.zarr", scan_number=7, settings=SMALL, master=None) as writer:
        write(writer)
    url = f"{mirror(tmp_path, s3, bucket)}/S1.zarr"
    for name in s3.environment:
        monkeypatch.delenv(name)
    scan = open_scan(url, storage_options=s3.options)
    np.testing.assert_array_equal(scan.devices["det"]["image"].value, FRAMES)
    assert str(scan.path) == scan.summary()["path"] == url
    assert [line["scan_number"] for line in listing(f"s3://{bucket}", storage_options=s3.options)]


@pytest.mark.s3
def test_scans_in_one_folder_are_listed_by_one_request_and_one_more_for_each(
    tmp_path: Path, s3, bucket, storage, requests
):
    with ScanWriter(tmp_path / "S1.zarr", scan_number=1, settings=SMALL, master=None) as writer:
        write(writer)
    root = (tmp_path / "S1.zarr" / "zarr.json").read_bytes()
    writer = storage.writer(bucket, "proposal")
    for number in range(40):
        obstore.put(writer, f"S{number:05d}.zarr/zarr.json", root)
        obstore.put(writer, f"S{number:05d}.zarr/{IMAGE}/value/c/0/0/0", b"")
    obstore.put(writer, "S99999.zarr/entry/zarr.json", b"no root document yet")

    lines = listing(f"s3://{bucket}/proposal")

    assert [line["path"][-10:-5] for line in lines] == [f"{number:05d}" for number in range(40)]
    assert {(line["devices"], line["rows"]) for line in lines} == {(1, 10)}
    assert requests == {"list_objects_v2": 1, "get_object": 41}


@pytest.mark.s3
def test_scans_in_deeper_folders_are_listed_and_nothing_below_them(
    tmp_path: Path, s3, bucket, requests
):
    for name in ("S0-9/S2/S2.zarr", "S0-9/S1/S1.zarr", "S3.zarr"):
        with ScanWriter(tmp_path / name, settings=SMALL, master=None) as writer:
            write(writer)
    lines = listing(mirror(tmp_path, s3, bucket))
    names = [line["path"].rpartition("/")[2] for line in lines]
    assert names == ["S1.zarr", "S2.zarr", "S3.zarr"]
    assert requests["list_objects_v2"] == 4  # the bucket, S0-9, and the two below it


@pytest.mark.s3
def test_a_server_that_stops_answering_is_told_and_is_no_damage(
    tmp_path: Path, s3, bucket, monkeypatch
):
    with ScanWriter(tmp_path / "S1.zarr", settings=SMALL, master=None) as writer:
        write(writer)
    scan = open_scan(f"{mirror(tmp_path, s3, bucket)}/S1.zarr")
    value = scan.devices["det"]["image"].value

    async def gone(*_: object, **__: object) -> None:
        raise ServiceError("gone")

    def gone_too(*_: object) -> None:
        raise GenericError("gone")

    monkeypatch.setattr(BucketFileSystem, "_call_s3", gone)
    monkeypatch.setattr(obstore, "get", gone_too)
    for look, message in ((scan.refresh, "cannot be reached"), (lambda: value[3], "gone")):
        with pytest.raises(ServiceError, match=message):
            look()


@pytest.mark.s3
def test_what_is_not_there_is_told(bucket, storage):
    with pytest.raises(UsageError, match="no such scan store"):
        open_scan(f"s3://{bucket}/S1.zarr")
    with pytest.raises(UsageError, match="no such folder"):
        listing(f"s3://{bucket}/nowhere")
    obstore.put(storage.writer(bucket), "S1.zarr/zarr.json", json.dumps({}).encode())
    with pytest.raises(StoreError, match="not a scan store"):
        open_scan(f"s3://{bucket}/S1.zarr")

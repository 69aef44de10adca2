"""A scan in a bucket: what is different from a disk, and what others read of it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
import tensorstore
import xarray
import zarr
from obstore.exceptions import GenericError
from obstore.store import S3Store
from zarr.storage import ObjectStore

from tests.reader.racing_reader import look_at_arrays, look_with_our_reader, open_with_zarr
from tests.reader.test_race import SETTINGS, add_row
from zwriter.errors import ServiceError, StoreError, UsageError
from zwriter.objects import place
from zwriter.objects.filesystem import BucketFileSystem
from zwriter.reader import listing, open_scan
from zwriter.reader.listing import find_scans
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, SpoolSettings, StoreSettings
from zwriter.testing.mirror import mirror
from zwriter.testing.s3 import S3Server
from zwriter.testing.s3_faults import S3Faults

SMALL = StoreSettings(flush_interval=60, default=SignalSettings(chunk_bytes=64), durability="none")
IMAGE = "entry/collection/devices/det/image"
FRAMES = np.arange(10)[:, None, None] + np.zeros((4, 3), np.uint16)


def write(writer: ScanWriter) -> None:
    for i, frame in enumerate(FRAMES):
        writer.add("det", "image", frame, 1.7e9 + i)
    writer.commit()


def requests(network: S3Faults) -> Counter[str]:
    """How many listings there were, and how many objects were read."""
    return Counter("LIST" if "list-type" in request.query else "GET" for request in network.log)


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


KINDS = ("zwriter", "zarr by s3fs", "zarr by obstore", "xarray", "tensorstore")


def look_of(kind: str, s3: S3Server, bucket: str) -> Callable[[str], tuple[int, list[str]]]:
    """Opens a scan anew and reads all of it, by one of these: rows, and what was wrong."""

    def by_obstore(url: str) -> Any:
        prefix = url.removeprefix(f"s3://{bucket}/")
        store = S3Store(bucket, prefix=prefix, client_options={"allow_http": True})
        return zarr.open_array(ObjectStore(store, read_only=True), mode="r")[...]

    def by_xarray(url: str) -> Any:
        signal, _, array = url.rpartition("/")
        with xarray.open_zarr(signal, consolidated=False, chunks=None) as dataset:
            return dataset[array].values

    def by_tensorstore(url: str) -> Any:
        path = url.removeprefix(f"s3://{bucket}/")
        kvstore = {"driver": "s3", "bucket": bucket, "path": f"{path}/"}
        kvstore |= {"endpoint": s3.endpoint, "aws_region": "us-east-1"}
        spec = {"driver": "zarr3", "kvstore": kvstore}
        return tensorstore.open(spec, read=True, open=True).result().read().result()

    if kind == "zwriter":
        return look_with_our_reader
    readers = (open_with_zarr, by_obstore, by_xarray, by_tensorstore)
    return look_at_arrays(
        dict(zip(KINDS[1:], readers, strict=True))[kind], f"s3://{bucket}/S1.zarr"
    )


@pytest.mark.slow
@pytest.mark.s3
@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_races_a_scan_on_its_way_into_a_bucket_and_sees_no_wrong_row(
    tmp_path: Path, s3: S3Server, bucket: str, kind: str
):
    def write() -> None:
        n = 1
        for _ in range(15):
            for _ in range(n % 5 + 1):
                add_row(writer, n)
                n += 1
            writer.flush()
        writer.finish()

    url, look = f"s3://{bucket}/S1.zarr", look_of(kind, s3, bucket)
    spool = SpoolSettings(folder=tmp_path / "spool")
    writer = ScanWriter(url, settings=SETTINGS, master=None, spool=spool)
    add_row(writer, 0)
    writer.flush()
    with ThreadPoolExecutor(1) as pool, contextlib.closing(writer):
        writing = pool.submit(write)
        looks, errors = [], []
        while not looks or not writing.done():
            try:
                looks.append(look(url))
                assert looks[-1][1] == []
            except (ValueError, RuntimeError, OSError, StoreError) as error:  # loud, not wrong
                errors.append(error)
        writing.result()
    last = look(url)
    assert open_scan(url).finished
    counts = [n for n, _ in (*looks, last)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    assert last[1] == []
    assert not errors or kind != "zwriter"


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
    lines = listing(f"s3://{bucket}", storage_options=s3.options)
    assert [line["scan_number"] for line in lines] == [7]


@pytest.mark.s3
def test_scans_in_one_folder_are_listed_by_one_request_and_one_more_for_each(
    tmp_path: Path, s3_network, bucket, storage
):
    with ScanWriter(tmp_path / "S1.zarr", scan_number=1, settings=SMALL, master=None) as writer:
        write(writer)
    root = (tmp_path / "S1.zarr" / "zarr.json").read_bytes()
    writer = storage.writer(bucket, "proposal")
    for number in range(40):
        obstore.put(writer, f"S{number:05d}.zarr/zarr.json", root)
        obstore.put(writer, f"S{number:05d}.zarr/{IMAGE}/value/c/0/0/0", b"")
    obstore.put(writer, "S99999.zarr/entry/zarr.json", b"no root document yet")

    lines = listing(f"s3://{bucket}/proposal", storage_options=s3_network.options)

    assert [line["path"][-10:-5] for line in lines] == [f"{number:05d}" for number in range(40)]
    assert {(line["devices"], line["rows"]) for line in lines} == {(1, 10)}
    assert requests(s3_network) == {"LIST": 1, "GET": 41}


@pytest.mark.s3
@pytest.mark.parametrize("single", [False, True], ids=["any depth", "single folders"])
def test_scans_in_deeper_folders_are_listed_and_nothing_below_them(
    tmp_path: Path, s3, s3_network, bucket, storage, single
):
    for name in ("S0-9/S2/S2.zarr", "S0-9/S1/S1.zarr", "S3.zarr", ".hidden/S4.zarr"):
        with ScanWriter(tmp_path / name, settings=SMALL, master=None) as writer:
            write(writer)
    url = mirror(tmp_path, s3, bucket)
    for name in ("S0-9/S1/S1_master.h5", "S2_master.h5", "S3.zwriter/S5.zarr/zarr.json"):
        obstore.put(storage.writer(bucket), name, b"")
    if single:  # as servers do that group keys by / only
        s3_network.answer("NotImplemented", times=1, method="GET", key=bucket)
    found = list(find_scans(place(url, s3_network.options)))
    assert [(scan.path.name, scan.master) for scan in found] == [
        ("S1.zarr", "S1_master.h5"),
        ("S2.zarr", None),
        ("S3.zarr", None),
    ]
    # else the bucket, S0-9, and the two below it
    assert requests(s3_network)["LIST"] == (1 + 4 if single else 1)


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
def test_a_server_that_cannot_be_asked_for_scans_is_told(s3, bucket, storage, monkeypatch):
    obstore.put(storage.writer(bucket), "S1.zarr/zarr.json", b"{}")
    with pytest.raises(ServiceError, match="cannot be reached"):
        listing(f"s3://{bucket}", storage_options=s3.options | {"endpoint": "http://127.0.0.1:1"})
    with pytest.raises(UsageError, match="no bucket"):
        listing("s3://no-such-bucket/scans", storage_options=s3.options)
    for name in s3.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UsageError, match="needs credentials"):
        listing(f"s3://{bucket}", storage_options={"endpoint": s3.endpoint})


@pytest.mark.s3
def test_what_is_not_there_is_told(bucket, storage):
    with pytest.raises(UsageError, match="no such scan store"):
        open_scan(f"s3://{bucket}/S1.zarr")
    with pytest.raises(UsageError, match="is no folder"):
        listing(f"s3://{bucket}/nowhere")
    obstore.put(storage.writer(bucket), "S1.zarr/zarr.json", json.dumps({}).encode())
    with pytest.raises(StoreError, match="not a scan store"):
        open_scan(f"s3://{bucket}/S1.zarr")
